//! Connections into the pod: to 127.0.0.1, then to ::1, from within its network namespace, without waiting for either.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use cradle_domain::Class;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::connection::Waiter;
use crate::deadlines::Due;
use crate::limits::{DIAL_DEADLINE, DIALS_MAX};
use crate::poll::{Interest, Source};
use crate::protocol::{Refusal, Reply};
use crate::shim::{Namespaces, Shim};

/// A connection that is being made.
#[derive(Debug)]
pub struct Dial {
    number: u32,
    waiter: Waiter,
    port: u16,
    address: Loopback,
    socket: OwnedFd,
}

/// Which address is being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loopback {
    V4,
    V6,
}

impl Loopback {
    fn family(self) -> AddressFamily {
        match self {
            Loopback::V4 => AddressFamily::INET,
            Loopback::V6 => AddressFamily::INET6,
        }
    }

    fn with_port(self, port: u16) -> SocketAddr {
        match self {
            Loopback::V4 => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            Loopback::V6 => SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        }
    }
}

impl Shim {
    /// Begins to connect; the answer comes with the connected socket.
    pub(crate) fn dial(&mut self, waiter: Waiter, port: u16) {
        if !matches!(self.namespaces, Namespaces::Made(_)) {
            // Until then this process is in the host's network.
            return self.refuse(&waiter, Refusal::new(Class::Refused, "the pod is not set up"));
        }
        if self.dials.len() >= DIALS_MAX {
            let text = format!("{DIALS_MAX} connections into the pod are being made already");
            return self.refuse(&waiter, Refusal::new(Class::Exhausted, text));
        }
        self.try_address(waiter, port, Loopback::V4);
    }

    fn try_address(&mut self, waiter: Waiter, port: u16, address: Loopback) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::socket_with(address.family(), SocketType::STREAM, flags, None) {
            Ok(socket) => socket,
            Err(errno) => return self.after_failure(waiter, port, address, errno),
        };
        match rustix::net::connect(&socket, &address.with_port(port)) {
            Ok(()) => self.answer(&waiter, Reply::Done, vec![socket]),
            Err(Errno::INPROGRESS) => {
                let number = self.next_number();
                match self.poll.add(socket.as_fd(), Source::Dial(number), Interest::Writable) {
                    Ok(()) => {
                        self.dials.push(Dial { number, waiter, port, address, socket });
                        self.deadlines.set(Due::GiveUpDial(number), DIAL_DEADLINE);
                    }
                    Err(errno) => self.after_failure(waiter, port, address, errno),
                }
            }
            Err(errno) => self.after_failure(waiter, port, address, errno),
        }
    }

    fn after_failure(&mut self, waiter: Waiter, port: u16, address: Loopback, errno: Errno) {
        match address {
            Loopback::V4 => self.try_address(waiter, port, Loopback::V6),
            Loopback::V6 => {
                let doing = format!("connecting to port {port} of the pod on 127.0.0.1 and ::1");
                self.refuse(&waiter, Refusal::from_errno(&doing, errno));
            }
        }
    }

    fn take_dial(&mut self, number: u32) -> Option<Dial> {
        let index = self.dials.iter().position(|dial| dial.number == number)?;
        let dial = self.dials.swap_remove(index);
        // The socket lives on in the daemon.
        self.poll.remove(&dial.socket);
        self.deadlines.cancel(Due::GiveUpDial(number));
        Some(dial)
    }

    /// A connection is made, or refused.
    pub(crate) fn on_dial(&mut self, number: u32) {
        let Some(dial) = self.take_dial(number) else { return };
        let Dial { waiter, port, address, socket, .. } = dial;
        match rustix::net::sockopt::socket_error(&socket) {
            Ok(Ok(())) => self.answer(&waiter, Reply::Done, vec![socket]),
            Ok(Err(errno)) | Err(errno) => self.after_failure(waiter, port, address, errno),
        }
    }

    pub(crate) fn give_up_dial(&mut self, number: u32) {
        if let Some(Dial { waiter, port, address, .. }) = self.take_dial(number) {
            self.after_failure(waiter, port, address, Errno::TIMEDOUT);
        }
    }
}
