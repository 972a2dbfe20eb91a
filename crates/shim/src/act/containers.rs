//! What happens to a running container: its events and their actions, kills, signals, attached clients, its log, and
//! its end.

use cradle_domain::{Class, ContainerId, Signal};
use cradle_executor::cgroup::Cgroup;
use rustix::io::Errno;
use rustix::termios::Winsize;

use crate::connection::Waiter;
use crate::container::{Container, Stdin};
use crate::container_state::{Action, Event as Happened, State, on};
use crate::deadlines::Due;
use crate::journal::Level;
use crate::limits::{DRAIN_DEADLINE, DRAIN_READS_IN_A_ROW, KILLS_WAITING_MAX, LOG_LOST_INTERVAL};
use crate::log_line::Stream;
use crate::output::Reading;
use crate::protocol::{Event, Refusal, Reply, Scope, Target};
use crate::shim::Shim;
use crate::{exit_record, limits};

impl Shim {
    /// Looks an event up in the table and does what it says.
    pub(crate) fn container_event(&mut self, number: u32, event: Happened) {
        let Some(index) = self.container_index(number) else { return };
        let (state, actions) = on(self.containers[index].state, event);
        self.containers[index].state = state;
        for action in actions {
            match action {
                Action::KillGroup => self.kill_container_group(number),
                Action::Drain => self.drain(number),
                Action::CloseOutput => self.close_output(number),
                Action::TellExit => self.tell_exit(number),
                Action::AnswerKills => self.answer_kills(number),
            }
        }
        if state == State::Exited && !actions.is_empty() {
            self.deadlines.cancel(Due::KillContainer(number));
            self.deadlines.cancel(Due::EndContainer(number));
            self.finish_shutdown();
        }
    }

    fn kill_container_group(&mut self, number: u32) {
        let Some(index) = self.container_index(number) else { return };
        if self.clear_group(&self.containers[index].cgroup) {
            self.container_event(number, Happened::GroupEmptied);
        }
        // With an empty group and an unreaped leader there is nothing to come back for: the kernel tells of its death.
        let Some(container) = self.containers.get_mut(index).filter(|container| container.number == number) else {
            return;
        };
        if container.state.is_clearing() {
            let pause = container.retry.pause();
            self.deadlines.set(Due::KillContainer(number), pause);
        }
    }

    /// Kills what is in a group; true: nothing was.
    pub(crate) fn clear_group(&self, group: &Cgroup) -> bool {
        match group.is_empty() {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => self.complain("looking into a control group", &error),
        }
        if let Err(error) = group.kill() {
            self.complain("killing a control group", &error);
        }
        false
    }

    /// Kills and forgets a process that cannot be watched. Its death is reaped as an orphan's.
    pub(crate) fn abandon(&self, pidfd: &std::os::fd::OwnedFd, group: &Cgroup) {
        // The process may be dead already.
        let _ = cradle_sys::pidfd::send_signal(pidfd, Signal::KILL.number());
        let _empty = self.clear_group(group);
        if let Err(error) = group.remove() {
            self.complain("removing a control group", &error);
        }
    }

    /// Reads what a dead container's output still holds.
    fn drain(&mut self, number: u32) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut reads = 0;
            while self.read_output(number, stream) == Reading::More && reads < DRAIN_READS_IN_A_ROW {
                reads += 1;
            }
        }
        let Some(index) = self.container_index(number) else { return };
        if !self.containers[index].state.is_told() {
            self.deadlines.set(Due::EndContainer(number), DRAIN_DEADLINE);
        }
        if self.containers[index].output.is_closed() {
            self.container_event(number, Happened::OutputClosed);
        }
    }

    /// Reads an output once.
    pub(crate) fn read_output(&mut self, number: u32, stream: Stream) -> Reading {
        let Some(index) = self.container_index(number) else { return Reading::Ended };
        let output = &mut self.containers[index].output;
        let was_closed = output.is_closed();
        let reading = output.read(stream, &self.poll, &mut self.buffers);
        let is_closed = output.is_closed();
        let lost = output.log().is_some_and(|log| log.has_lost());
        if reading == Reading::More && !self.unread.contains(&(number, stream)) {
            self.unread.push_back((number, stream));
        }
        if lost && !self.deadlines.is_set(Due::TellLogLost(number)) {
            self.tell_log_lost(number);
        }
        if is_closed && !was_closed {
            self.container_event(number, Happened::OutputClosed);
        }
        reading
    }

    /// Tells the daemon of output that its log could not take, and then not again for a while.
    pub(crate) fn tell_log_lost(&mut self, number: u32) {
        let Some(index) = self.container_index(number) else { return };
        let container = &mut self.containers[index];
        let Some((lost_bytes, error)) = container.output.log().and_then(|log| log.take_lost()) else { return };
        let container = container.id.clone();
        self.deadlines.set(Due::TellLogLost(number), LOG_LOST_INTERVAL);
        self.tell(Event::LogLost { container, lost_bytes, error });
    }

    fn close_output(&mut self, number: u32) {
        let Some(index) = self.container_index(number) else { return };
        self.containers[index].output.close(&self.poll, &mut self.buffers);
        self.unread.retain(|(other, _)| *other != number);
    }

    fn tell_exit(&mut self, number: u32) {
        self.deadlines.cancel(Due::EndContainer(number));
        self.tell_log_lost(number);
        self.deadlines.cancel(Due::TellLogLost(number));
        let Some(index) = self.container_index(number) else { return };
        let report = self.containers[index].report();
        if let Err(error) = exit_record::write(&self.directory, &report) {
            // The daemon is told all the same.
            self.complain("recording an exit", &error);
        }
        let container = &mut self.containers[index];
        container.output.close_log();
        container.stdin = Stdin::None;
        if let Some(exit) = report.exit {
            let text = format!("container {} has ended with code {}", report.container.short(), exit.code);
            self.journal.write(Level::Info, "", &text);
            self.tell(Event::ContainerExited { container: report.container, exit });
        }
    }

    fn answer_kills(&mut self, number: u32) {
        let Some(index) = self.container_index(number) else { return };
        for waiter in std::mem::take(&mut self.containers[index].kills) {
            self.answer(&waiter, Reply::Done, Vec::new());
        }
    }

    fn find(&mut self, id: &ContainerId) -> Result<&mut Container, Refusal> {
        self.containers.iter_mut().find(|container| container.id == *id).ok_or_else(|| not_found(id))
    }

    /// Kills everything in a container. One that is not known has nothing to kill.
    pub(crate) fn kill_container(&mut self, waiter: Waiter, id: &ContainerId) -> Result<(), Refusal> {
        let Ok(container) = self.find(id) else {
            self.answer(&waiter, Reply::Done, Vec::new());
            return Ok(());
        };
        if container.kills.len() >= KILLS_WAITING_MAX {
            let text = format!("{KILLS_WAITING_MAX} requests to kill container {} are waiting already", id.short());
            return Err(Refusal::new(Class::Busy, text));
        }
        container.kills.push(waiter);
        let number = container.number;
        self.container_event(number, Happened::KillAsked);
        Ok(())
    }

    /// Sends a signal. Who is gone has got what it was sent for.
    pub(crate) fn signal(&mut self, target: &Target, signal: i32, scope: Scope) -> Result<(), Refusal> {
        let signal = Signal::from_number(signal).map_err(|error| Refusal::new(Class::Invalid, error.to_string()))?;
        let (pidfd, group, lives) = match target {
            Target::Container(id) => match self.find(id) {
                Ok(container) => (&container.pidfd, &container.cgroup, container.state.leader_lives()),
                Err(_) => return Ok(()),
            },
            Target::Exec(_, id) => match self.execs.iter().find(|exec| exec.id == *id) {
                Some(exec) => (&exec.pidfd, &exec.cgroup, exec.exit.is_none()),
                None => return Ok(()),
            },
        };
        match scope {
            Scope::Leader if !lives => Ok(()),
            Scope::Leader => match cradle_sys::pidfd::send_signal(pidfd, signal.number()) {
                Ok(()) | Err(Errno::SRCH) => Ok(()),
                Err(errno) => Err(Refusal::from_errno(&format!("sending {signal}"), errno)),
            },
            Scope::Group => {
                let Some(named) = rustix::process::Signal::from_named_raw(signal.number()) else {
                    let text =
                        format!("{signal} cannot be sent to a whole group: real-time signals are for one process");
                    return Err(Refusal::new(Class::Invalid, text));
                };
                group.signal_all(named).map_err(|error| Refusal::from_error(&error))
            }
        }
    }

    /// Forgets an exited container; one that is not known is forgotten already.
    pub(crate) fn remove_container(&mut self, id: &ContainerId) -> Result<(), Refusal> {
        let Some(index) = self.containers.iter().position(|container| container.id == *id) else {
            return self.remove_exit_record(id);
        };
        let container = &self.containers[index];
        match container.state {
            State::Exited => {}
            State::Running | State::Killing => {
                return Err(Refusal::new(Class::Refused, format!("container {} is running", id.short())));
            }
            State::Ending | State::Clearing | State::Draining | State::Lingering => {
                let text = format!("processes of container {} are still being killed", id.short());
                return Err(Refusal::new(Class::Busy, text));
            }
        }
        container.cgroup.remove().map_err(|error| Refusal::from_error(&error))?;
        self.remove_exit_record(id)?;
        let container = self.containers.remove(index);
        for due in [Due::KillContainer, Due::EndContainer, Due::TellLogLost] {
            self.deadlines.cancel(due(container.number));
        }
        Ok(())
    }

    fn remove_exit_record(&self, id: &ContainerId) -> Result<(), Refusal> {
        exit_record::remove(&self.directory, id)
            .map_err(|error| Refusal::new(Class::Unavailable, cradle_domain::failure::Chain(&error).to_string()))
    }

    pub(crate) fn reopen_log(&mut self, id: &ContainerId) -> Result<(), Refusal> {
        let container = self.find(id)?;
        if container.state.is_told() {
            return Err(Refusal::new(Class::Refused, format!("container {} is not running", id.short())));
        }
        match container.output.log() {
            None => Err(Refusal::new(Class::Refused, format!("container {} has no log file", id.short()))),
            Some(log) => log.reopen().map_err(|error| super::start::refuse_log(&error)),
        }
    }

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
            let text = format!("{} clients are attached to container {}", limits::ATTACHED_MAX, id.short());
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

/// Which streams a client wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

fn not_found(id: &ContainerId) -> Refusal {
    Refusal::new(Class::NotFound, format!("the pod has no container {}", id.short()))
}
