//! What happens to a running container: its events and their actions, kills, signals, its log, and its end.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use cradle_domain::{Class, ContainerId, Signal, Timestamp};
use cradle_executor::cgroup::Cgroup;
use cradle_executor::run::Started;
use rustix::io::Errno;

use crate::connection::Waiter;
use crate::container::{Container, Retry, Stdin};
use crate::container_state::{Action, Event as Happened, State, on};
use crate::deadlines::Due;
use crate::exit_record;
use crate::journal::Level;
use crate::limits::{KILLS_WAITING_MAX, LOG_LINE_DEFAULT_BYTES, LOG_LINE_MAX_BYTES};
use crate::log_file::LogFile;
use crate::output::Output;
use crate::poll::{Interest, Source};
use crate::protocol::{ContainerIo, Event, Refusal, Reply, Scope, StartContainer, Target};
use crate::shim::Shim;
use crate::streams::Ends;

impl Shim {
    /// Enters a container whose program runs. Where that fails, it is killed: nobody would watch it.
    pub(crate) fn hold_container(
        &mut self,
        request: &StartContainer,
        started: Started,
        ends: Ends,
        log: Option<LogFile>,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let Started { pid, pidfd, terminal_master, cgroup } = started;
        let line_max = line_max(&request.io);
        let output = match (terminal_master, ends.output) {
            (Some(master), _) => {
                let nonblocking = rustix::io::ioctl_fionbio(&master, true);
                nonblocking.map(|()| Output::terminal(master, log, line_max))
            }
            (None, Some((stdout, stderr))) => Ok(Output::pipes(stdout, stderr, log, line_max)),
            // A plan for a terminal always gives one.
            (None, None) => Err(Errno::NOTTY),
        };
        let number = self.next_number();
        let watched = output.and_then(|output| output.register(&self.poll, number).map(|()| output));
        let output = watched.map_err(|errno| {
            self.abandon(&pidfd, &cgroup);
            Refusal::from_errno("watching the container's output", errno)
        })?;
        self.containers.push(Container {
            number,
            id: request.plan.id.clone(),
            pid,
            pidfd,
            cgroup,
            started_at: at,
            state: State::Running,
            exit: None,
            oom_kills: 0,
            output,
            stdin: ends.stdin,
            kills: Vec::new(),
            retry: Retry::default(),
            watch: None,
            spare_group: None,
            left_groups: VecDeque::new(),
        });
        self.read_first_output(number);
        Ok(())
    }

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
        let container = &self.containers[index];
        let leader = container.state.leader_lives().then_some(&container.pidfd);
        if self.clear_group(leader, &container.cgroup) {
            if let Some(watch) = self.containers[index].watch.take() {
                self.poll.remove(watch);
            }
            self.container_event(number, Happened::GroupEmptied);
        } else {
            self.watch_group(index);
            let pause = self.containers[index].retry.pause();
            self.deadlines.set(Due::KillContainer(number), pause);
        }
    }

    /// Has the kernel tell when a group is empty. Where it cannot, the group is looked at again by time alone.
    fn watch_group(&mut self, index: usize) {
        let container = &self.containers[index];
        if container.watch.is_some() {
            return;
        }
        let watch = match container.cgroup.watch() {
            Ok(Some(watch)) => watch,
            Ok(None) => return,
            Err(error) => return self.complain("watching a control group", &error),
        };
        match self.poll.add(&watch, Source::Group(container.number), Interest::Changes) {
            Ok(()) => self.containers[index].watch = Some(watch),
            Err(errno) => self.complain("watching a control group", &std::io::Error::from(errno)),
        }
    }

    /// Kills what is in a group, and the group's first process, which may have moved out of it; true: the group was
    /// empty. If that process is all that is left, its death is told by the kernel.
    pub(crate) fn clear_group(&self, leader: Option<&OwnedFd>, group: &Cgroup) -> bool {
        if let Some(leader) = leader {
            // It may be dead already.
            let _ = cradle_sys::pidfd::send_signal(leader, Signal::KILL.number());
        }
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
    fn abandon(&self, pidfd: &OwnedFd, group: &Cgroup) {
        let _empty = self.clear_group(Some(pidfd), group);
        if let Err(error) = group.remove() {
            self.complain("removing a control group", &error);
        }
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

    pub(super) fn find(&mut self, id: &ContainerId) -> Result<&mut Container, Refusal> {
        self.containers.iter_mut().find(|container| container.id == *id).ok_or_else(|| not_found(id))
    }

    /// Kills everything in a container. One that is not known has nothing to kill.
    pub(crate) fn kill_container(&mut self, waiter: Waiter, id: &ContainerId) -> Result<(), Refusal> {
        if let Some(start) = self.starts.iter_mut().find(|start| start.is_container(id)) {
            start.await_end(waiter)?;
            let number = start.number();
            self.kill_start(number);
        } else if let Some(container) = self.containers.iter_mut().find(|container| container.id == *id) {
            if container.kills.len() >= KILLS_WAITING_MAX {
                return Err(too_many_kills());
            }
            container.kills.push(waiter);
            let number = container.number;
            self.container_event(number, Happened::KillAsked);
        } else {
            self.answer(&waiter, Reply::Done, Vec::new());
        }
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
                Some(exec) => (&exec.pidfd, &exec.group.cgroup, exec.exit.is_none()),
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
}

/// The longest line of a container's log before it is split.
fn line_max(io: &ContainerIo) -> usize {
    match usize::try_from(io.log_line_max_bytes) {
        Ok(0) | Err(_) => LOG_LINE_DEFAULT_BYTES,
        Ok(bytes) => bytes.min(LOG_LINE_MAX_BYTES),
    }
}

pub(super) fn too_many_kills() -> Refusal {
    Refusal::new(Class::Busy, format!("{KILLS_WAITING_MAX} requests to kill it are waiting already"))
}

pub(super) fn not_found(id: &ContainerId) -> Refusal {
    Refusal::new(Class::NotFound, format!("the pod has no container {}", id.short()))
}
