//! Taking connections, reading requests from them, sending answers and events.

use std::os::fd::OwnedFd;

use cradle_domain::Class;
use cradle_domain::failure::Chain;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::act::start::Start;
use crate::connection::{Connection, Pending, SendError, Waiter};
use crate::deadlines::Due;
use crate::journal::Level;
use crate::limits::{ACCEPT_PAUSE, REQUESTS_IN_A_ROW};
use crate::poll::{Interest, Source};
use crate::protocol::{Event, Frame, Refusal, Reply, Request};
use crate::shim::Shim;
use crate::wire::{self, DecodeError, Message, ReceiveMessageError};

impl Shim {
    /// Writes to the shim's log that something failed which nobody asked for.
    pub(crate) fn complain(&self, doing: &str, error: &(dyn std::error::Error + 'static)) {
        self.journal.write(Level::Error, "", &format!("{doing}: {}", Chain(error)));
    }

    /// Takes a new connection, which is served when it has said hello: whoever only connects, or speaks something else,
    /// does not cost the daemon its own.
    pub(crate) fn accept(&mut self) {
        match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) if is_from_own_user(&socket) => self.meet(socket),
            Ok(_) => {
                if !std::mem::replace(&mut self.strangers_told, true) {
                    self.journal.write(Level::Warn, "", "a connection of another user was refused, as all of them are");
                }
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(errno) => {
                // The connection waits and would be reported without end.
                self.complain("accepting a connection", &std::io::Error::from(errno));
                self.poll.remove(&self.listener);
                self.deadlines.set(Due::Accept, ACCEPT_PAUSE);
            }
        }
    }

    /// Listens again after a pause.
    pub(crate) fn listen_again(&mut self) {
        if self.poll.add(&self.listener, Source::Listener, Interest::Readable).is_err() {
            self.deadlines.set(Due::Accept, ACCEPT_PAUSE);
        }
    }

    /// Waits for what `socket` says, in place of an earlier one that has said nothing yet.
    fn meet(&mut self, socket: OwnedFd) {
        if let Some(earlier) = self.newcomer.take() {
            self.poll.remove(&earlier);
        }
        match self.poll.add(&socket, Source::Newcomer, Interest::Readable) {
            Ok(()) => self.newcomer = Some(socket),
            Err(errno) => self.complain("watching a new connection", &std::io::Error::from(errno)),
        }
    }

    /// A new connection says something, or leaves.
    pub(crate) fn hear_newcomer(&mut self) {
        let Some(socket) = self.newcomer.take() else { return };
        match wire::receive(&socket, self.buffers.for_message()) {
            Ok(Message {
                frame: Frame::Request { sequence, request_id, body: body @ Request::Hello { .. } },
                descriptors,
            }) => {
                self.poll.remove(&socket);
                let connection = self.take_connection(socket);
                self.request(Waiter { connection, sequence, request_id }, body, descriptors);
            }
            Err(error) if error.is_would_block() => self.newcomer = Some(socket),
            Err(error) if error.is_closed() => self.poll.remove(&socket),
            other => {
                self.poll.remove(&socket);
                let why = other.map_or_else(|error| Chain(&error).to_string(), |_| "it is no hello".to_owned());
                self.journal.write(
                    Level::Warn,
                    "",
                    &format!("what a new connection said first cannot be served: {why}"),
                );
            }
        }
    }

    /// Serves `socket` from now on, and no other: answers to the connection before it are for nobody. Tells its number.
    pub(crate) fn take_connection(&mut self, socket: OwnedFd) -> u32 {
        self.drop_connection();
        for container in &mut self.containers {
            container.kills.clear();
        }
        // Nobody waits for what was being started, and no greeting would have named it.
        let starts: Vec<u32> = self.starts.iter().map(Start::number).collect();
        for number in starts {
            self.kill_start(number);
        }
        let number = self.next_number();
        let connection = Connection::new(number, socket);
        match self.poll.add(connection.socket(), Source::Daemon, Interest::Readable) {
            Ok(()) => self.connection = Some(connection),
            Err(errno) => self.complain("watching a connection", &std::io::Error::from(errno)),
        }
        number
    }

    fn drop_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.poll.remove(connection.socket());
        }
    }

    /// The connection can be read from, or, if messages wait, written to.
    pub(crate) fn serve_connection(&mut self) {
        let Some(connection) = self.connection.as_mut() else { return };
        if connection.is_behind() {
            let flushed = connection.flush();
            self.after_send(flushed);
            return;
        }
        for _ in 0..REQUESTS_IN_A_ROW {
            // Requests are read only while their answers find room.
            let Some(connection) = self.connection.as_ref().filter(|connection| !connection.is_behind()) else {
                return;
            };
            let number = connection.number;
            let received = wire::receive(connection.socket(), self.buffers.for_message());
            let refused = |sequence| Waiter { connection: number, sequence, request_id: String::new() };
            match received {
                Ok(Message { frame: Frame::Request { sequence, request_id, body }, descriptors }) => {
                    self.request(Waiter { connection: number, sequence, request_id }, body, descriptors);
                }
                Ok(_) => {
                    self.journal.write(
                        Level::Warn,
                        "",
                        "the daemon sent what only a shim sends: its connection is closed",
                    );
                    self.drop_connection();
                }
                Err(error) if error.is_would_block() => return,
                Err(error) if error.is_closed() => self.drop_connection(),
                Err(ReceiveMessageError::Decode(ref error @ DecodeError::UnknownRequest { sequence })) => {
                    let refusal = Refusal::new(Class::Unimplemented, Chain(error).to_string());
                    self.refuse(&refused(sequence), refusal);
                }
                Err(ref error @ ReceiveMessageError::DescriptorsLost { request: Some(sequence), .. }) => {
                    let refusal = Refusal::new(Class::Exhausted, Chain(error).to_string());
                    self.refuse(&refused(sequence), refusal);
                }
                Err(error) => {
                    self.complain("the daemon's connection is closed", &error);
                    self.drop_connection();
                }
            }
        }
    }

    /// Answers a request, with descriptors beside the answer.
    pub(crate) fn answer(&mut self, waiter: &Waiter, reply: Reply, descriptors: Vec<OwnedFd>) {
        self.send_reply(waiter, Ok(reply), descriptors);
    }

    /// Refuses a request.
    pub(crate) fn refuse(&mut self, waiter: &Waiter, refusal: Refusal) {
        self.journal.write(Level::Warn, &waiter.request_id, &refusal.message);
        self.send_reply(waiter, Err(refusal), Vec::new());
    }

    fn send_reply(&mut self, waiter: &Waiter, body: Result<Reply, Refusal>, descriptors: Vec<OwnedFd>) {
        if self.connection.as_ref().is_some_and(|connection| connection.number == waiter.connection) {
            self.send(Message { frame: Frame::Reply { sequence: waiter.sequence, body }, descriptors });
        }
    }

    /// Tells the daemon, if one is connected; others ask when they come.
    pub(crate) fn tell(&mut self, event: Event) {
        self.send(Message::bare(Frame::Event(event)));
    }

    fn send(&mut self, message: Message) {
        let Some(connection) = self.connection.as_mut() else { return };
        match wire::encode(message) {
            Ok(encoded) => {
                let sent = connection.send(encoded);
                self.after_send(sent);
            }
            Err(error) => {
                // The daemon would wait for this message: it comes back and asks for everything.
                self.complain("the daemon's connection is closed", &error);
                self.drop_connection();
            }
        }
    }

    fn after_send(&mut self, sent: Result<Pending, SendError>) {
        let interest = match sent {
            Ok(Pending::Nothing) => Interest::Readable,
            Ok(Pending::Some) => Interest::Writable,
            Err(error) => {
                self.complain("the daemon's connection is closed", &error);
                self.drop_connection();
                return;
            }
        };
        let Some(connection) = self.connection.as_mut() else { return };
        if connection.note_interest(interest)
            && let Err(errno) = self.poll.modify(connection.socket(), Source::Daemon, interest)
        {
            self.complain("watching the daemon's connection", &std::io::Error::from(errno));
            self.drop_connection();
        }
    }
}

/// The folder of the socket is closed to other users; this is the second lock.
fn is_from_own_user(socket: &OwnedFd) -> bool {
    let own = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
}
