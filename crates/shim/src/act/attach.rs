//! Clients of a container's streams: attaching to them, and the size of its terminal.

use cradle_domain::{Class, ContainerId};
use rustix::termios::Winsize;

use crate::connection::Waiter;
use crate::limits::ATTACHED_MAX;
use crate::log_line::Stream;
use crate::protocol::{Refusal, Reply, Target};
use crate::shim::Shim;

use super::containers::not_found;

/// Which streams a client wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl Shim {
    /// Sets the size of a container's terminal. That of an exec is set by the daemon, which holds its master.
    pub(crate) fn resize(&mut self, target: &Target, columns: u16, rows: u16) -> Result<(), Refusal> {
        let id = match target {
            Target::Container(id) => id,
            Target::Exec(..) => {
                let refusal = Refusal::new(Class::Refused, "the shim does not hold the terminal of an exec");
                return Err(refusal.with_hint("Its size is set on the master that came with the answer to its start."));
            }
        };
        let container = self.find(id)?;
        if !container.output.has_terminal() {
            return Err(Refusal::new(Class::Refused, format!("container {} has no terminal", id.short())));
        }
        let Some(master) = container.output.terminal_master() else { return Ok(()) };
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(master, size)
            .map_err(|errno| Refusal::from_errno("setting the terminal's size", errno))
    }

    /// Hands a container's output, from now on, and its stdin to a client.
    pub(crate) fn attach(&mut self, waiter: &Waiter, id: &ContainerId, wanted: Wanted) -> Result<(), Refusal> {
        let (client, stdout_number, stderr_number) = (self.next_number(), self.next_number(), self.next_number());
        let poll = &self.poll;
        let container =
            self.containers.iter_mut().find(|container| container.id == *id).ok_or_else(|| not_found(id))?;
        if !container.state.leader_lives() {
            return Err(Refusal::new(Class::Refused, format!("container {} is not running", id.short())));
        }
        if !container.output.has_room_for_client() {
            let text = format!("{} clients are attached to container {}", ATTACHED_MAX, id.short());
            return Err(Refusal::new(Class::Exhausted, text));
        }
        let terminal = container.output.has_terminal();
        let streams = [
            (wanted.stdout || (terminal && wanted.stderr), Stream::Stdout, stdout_number),
            (wanted.stderr && !terminal, Stream::Stderr, stderr_number),
        ];
        let mut taps = [None, None];
        for (tap, (wanted, stream, number)) in taps.iter_mut().zip(streams) {
            if wanted {
                *tap = container.output.tap(stream, client, number, poll).map_err(|errno| {
                    container.output.drop_client(client, poll);
                    Refusal::from_errno("making a pipe for the client", errno)
                })?;
            }
        }
        // Last: an end that is handed out once is not taken back.
        let stdin = if wanted.stdin { container.stdin_for_client() } else { Ok(None) };
        let stdin = stdin.map_err(|errno| {
            container.output.drop_client(client, poll);
            Refusal::from_errno("copying the container's stdin", errno)
        })?;
        let [stdout, stderr] = taps;
        let reply =
            Reply::Attached { stdin: stdin.is_some(), stdout: stdout.is_some(), stderr: stderr.is_some(), terminal };
        self.answer(waiter, reply, [stdin, stdout, stderr].into_iter().flatten().collect());
        Ok(())
    }
}
