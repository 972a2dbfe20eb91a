//! Netlink, synchronously: requests go out as one datagram, the kernel carries them out inside the send, and the answers
//! lie ready when it returns. So nothing here waits for anything but the kernel's own locks.
//!
//! This module knows the form of messages. What they say about links, routes, rules and flows is their users'.

pub mod decode;
mod encode;
pub mod uapi;

use std::os::fd::OwnedFd;

use cradle_domain::{Class, Classified};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

pub use self::encode::{Attributes, Requests};
use self::uapi::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};

/// The kernel builds the parts of a dump in buffers of at most this size.
const RECEIVE_BYTES: usize = 32 << 10;

/// The part of the kernel that a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses and routes: rtnetlink(7).
    Route,
    /// nf_tables and connection tracking.
    Netfilter,
}

/// A netlink socket; it talks about the network namespace of the thread that opened it, for ever.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// Why requests were not carried out.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("cannot open a {family:?} netlink socket")]
    Open { family: Family, source: Errno },
    #[error("cannot send netlink requests")]
    Send { source: Errno },
    #[error("cannot receive the answer to the request to {what}")]
    Receive { what: &'static str, source: Errno },
    /// The kernel's own number says why; later requests of the same datagram may have been carried out.
    #[error("the kernel refused to {what}")]
    Refused { what: &'static str, source: Errno },
    #[error("the kernel did not answer the request to {what}")]
    Unanswered { what: &'static str },
    #[error("the objects changed during the request to {what}")]
    Interrupted { what: &'static str },
    #[error("the request to {what} is longer than netlink can express")]
    TooLong { what: &'static str },
}

impl NetlinkError {
    /// The kernel's number, if it refused a request.
    pub fn refusal(&self) -> Option<Errno> {
        match self {
            NetlinkError::Refused { source, .. } => Some(*source),
            _ => None,
        }
    }
}

impl Classified for NetlinkError {
    fn class(&self) -> Class {
        match self {
            NetlinkError::Open { source, .. }
            | NetlinkError::Send { source }
            | NetlinkError::Refused { source, .. } => match *source {
                Errno::PERM | Errno::ACCESS => Class::Denied,
                Errno::NOMEM | Errno::NOBUFS | Errno::NOSPC | Errno::MFILE | Errno::NFILE => Class::Exhausted,
                Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::OPNOTSUPP => Class::Unimplemented,
                Errno::BUSY | Errno::AGAIN => Class::Busy,
                _ => Class::Bug,
            },
            NetlinkError::Interrupted { .. } => Class::Busy,
            NetlinkError::TooLong { .. } => Class::Invalid,
            NetlinkError::Receive { .. } | NetlinkError::Unanswered { .. } => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self.class() {
            Class::Denied => Some("the daemon needs CAP_NET_ADMIN in the host's network namespace".into()),
            Class::Unimplemented => {
                Some("the kernel lacks a part that pod networks need: bridge, veth, nf_tables with NAT and fib".into())
            }
            _ => None,
        }
    }
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open(family: Family) -> Result<Self, NetlinkError> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(|source| NetlinkError::Open { family, source })?;
        Ok(Self::from_fd(fd))
    }

    /// Uses a netlink socket that was opened elsewhere, perhaps in another network namespace.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Socket { fd, buffer: vec![0; RECEIVE_BYTES] }
    }

    /// Has the kernel carry out all requests; the first refusal is the error.
    pub fn execute(&mut self, requests: &Requests) -> Result<(), NetlinkError> {
        self.query(requests, |_| ())
    }

    /// Has the kernel carry out all requests and hands over the payload of each object that it answers with.
    pub fn query(&mut self, requests: &Requests, mut object: impl FnMut(&[u8])) -> Result<(), NetlinkError> {
        if let Some(what) = requests.too_long {
            return Err(NetlinkError::TooLong { what });
        }
        #[cfg(test)]
        crate::crash_point::pass();
        rustix::net::send(&self.fd, &requests.bytes, SendFlags::empty())
            .map_err(|source| NetlinkError::Send { source })?;
        let mut open: Vec<bool> = requests.asked.iter().map(|asked| asked.answered).collect();
        let mut refused: Option<(usize, Errno)> = None;
        while let Some(waiting) = open.iter().position(|open| *open) {
            let what = requests.asked[waiting].what;
            // An early refusal of a whole datagram leaves the rest without any answer: never wait for one.
            let (_, received) = match rustix::net::recv(&self.fd, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) if refused.is_some() => break,
                Err(Errno::AGAIN) => return Err(NetlinkError::Unanswered { what }),
                Err(source) => return Err(NetlinkError::Receive { what, source }),
            };
            for message in decode::messages(&self.buffer[..received]) {
                let Some(at) = requests.asked.iter().position(|asked| asked.sequence == message.sequence) else {
                    continue;
                };
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    return Err(NetlinkError::Interrupted { what: requests.asked[at].what });
                }
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        open[at] = false;
                        if let Some(errno) = errno(message.payload)
                            && refused.is_none_or(|(first, _)| at < first)
                        {
                            refused = Some((at, errno));
                        }
                    }
                    _ => object(message.payload),
                }
            }
        }
        match refused {
            Some((at, source)) => Err(NetlinkError::Refused { what: requests.asked[at].what, source }),
            None => Ok(()),
        }
    }
}

/// The error in the payload of `NLMSG_ERROR` or `NLMSG_DONE`: a negative number, 0 in an acknowledgement.
fn errno(payload: &[u8]) -> Option<Errno> {
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    (code < 0).then(|| Errno::from_raw_os_error(code.wrapping_neg()))
}

#[cfg(test)]
mod tests {
    use super::uapi::*;
    use super::*;

    fn link_named(name: &str) -> Requests {
        let mut requests = Requests::new();
        requests.act("look up a link", RTM_GETLINK, 0, &[0; 16], |attributes| attributes.text(IFLA_IFNAME, name));
        requests
    }

    #[test]
    fn a_query_hands_over_the_object_and_a_refusal_is_told_with_what_was_asked() {
        let mut socket = Socket::open(Family::Route).unwrap();
        let mut objects = 0;
        socket.query(&link_named("lo"), |_| objects += 1).unwrap();
        assert_eq!(objects, 1);
        let error = socket.execute(&link_named("no-such-link")).unwrap_err();
        assert_eq!(error.refusal(), Some(Errno::NODEV));
        assert_eq!(error.to_string(), "the kernel refused to look up a link");
    }

    #[test]
    fn a_dump_ends() {
        let mut requests = Requests::new();
        requests.dump("list links", RTM_GETLINK, &[0; 16], |_| ());
        let mut names = Vec::new();
        let mut socket = Socket::open(Family::Route).unwrap();
        socket
            .query(&requests, |payload| names.extend(decode::find(&payload[16..], IFLA_IFNAME).map(decode::text)))
            .unwrap();
        assert!(names.contains(&"lo".to_owned()), "{names:?}");
    }

    #[test]
    fn a_request_that_does_not_fit_is_not_sent() {
        let mut requests = Requests::new();
        requests.act("ask too much", RTM_GETLINK, 0, &[0; 16], |attributes| attributes.bytes(1, &vec![0; 1 << 16]));
        let error = Socket::open(Family::Route).unwrap().execute(&requests).unwrap_err();
        assert!(matches!(error, NetlinkError::TooLong { what: "ask too much" }));
    }
}
