//! Execs: started in a group of their own within the container's, killed alone, told of when they end.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use cradle_domain::{Class, Signal, Timestamp};
use cradle_executor::run::{self, Started, Stdio};

use crate::connection::Waiter;
use crate::container::{Exec, Retry};
use crate::deadlines::Due;
use crate::exec_state::{Action, Event as Happened, State, on};
use crate::limits::{EXEC_KILL_DEADLINE, EXECS_MAX, GROUPS_SWEPT_IN_A_ROW};
use crate::protocol::{Event, ExecIo, Exit, Refusal, Reply, StartExec};
use crate::shim::Shim;

use super::reap::killed_by;
use super::start::null;

impl Shim {
    /// Starts one more process in a container and answers when its program runs.
    pub(crate) fn start_exec(&mut self, waiter: &Waiter, request: &StartExec, descriptors: Vec<OwnedFd>) {
        match self.try_start_exec(request, descriptors) {
            Ok((reply, descriptors)) => self.answer(waiter, reply, descriptors),
            Err(refusal) => self.refuse(waiter, refusal),
        }
    }

    fn try_start_exec(
        &mut self,
        request: &StartExec,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Refusal> {
        self.refuse_while_shutting_down()?;
        let id = &request.container;
        let container = self.containers.iter().find(|container| container.id == *id);
        let Some(container) = container else {
            return Err(Refusal::new(Class::NotFound, format!("the pod has no container {}", id.short())));
        };
        if !container.state.leader_lives() {
            return Err(Refusal::new(Class::Refused, format!("container {} is not running", id.short())));
        }
        if self.execs.iter().any(|exec| exec.id == request.exec) {
            return Err(Refusal::new(Class::Conflict, format!("exec {} is running already", request.exec.0)));
        }
        if self.execs.len() >= EXECS_MAX {
            return Err(Refusal::new(Class::Exhausted, format!("{EXECS_MAX} execs are running in the pod")));
        }
        let stdio = stdio(request.io, descriptors)?;
        let of = run::Container { pidfd: container.pidfd.as_fd(), cgroup: &container.cgroup };
        let group = format!("exec-{}", request.exec.0);
        let started =
            run::exec(&request.plan, of, &group, stdio, &self.single).map_err(|error| Refusal::from_error(&error))?;
        let at = Timestamp::now();
        let Started { pid, pidfd, terminal_master, cgroup } = started;
        let container_number = container.number;
        let number = self.next_number();
        self.execs.push(Exec {
            number,
            id: request.exec,
            container: id.clone(),
            container_number,
            pid,
            pidfd,
            cgroup,
            state: State::Running,
            exit: None,
            timed_out: false,
            retry: Retry::default(),
        });
        if let Some(timeout) = request.timeout {
            self.deadlines.set(Due::TimeOutExec(number), timeout.max(Duration::from_millis(1)));
        }
        Ok((Reply::Started { pid, at }, terminal_master.into_iter().collect()))
    }

    /// Looks an event up in the table and does what it says.
    pub(crate) fn exec_event(&mut self, number: u32, event: Happened) {
        let Some(index) = self.exec_index(number) else { return };
        let (state, actions) = on(self.execs[index].state, event);
        self.execs[index].state = state;
        for action in actions {
            match action {
                Action::NoteTimeout => self.note_timeout(number),
                Action::KillGroup => self.kill_exec_group(number),
                Action::TellExit => self.end_exec(number),
            }
        }
    }

    fn note_timeout(&mut self, number: u32) {
        let Some(index) = self.exec_index(number) else { return };
        self.execs[index].timed_out = true;
        self.deadlines.set(Due::EndExec(number), EXEC_KILL_DEADLINE);
    }

    fn kill_exec_group(&mut self, number: u32) {
        let Some(index) = self.exec_index(number) else { return };
        if self.clear_group(&self.execs[index].cgroup) {
            self.exec_event(number, Happened::GroupEmptied);
        }
        // Unless that was its end.
        if let Some(index) = self.exec_index(number) {
            let pause = self.execs[index].retry.pause();
            self.deadlines.set(Due::KillExec(number), pause);
        }
    }

    /// Tells of an exec's end and forgets it.
    fn end_exec(&mut self, number: u32) {
        let Some(index) = self.exec_index(number) else { return };
        let Exec { container, container_number, id, cgroup, exit, timed_out, .. } = self.execs.swap_remove(index);
        for due in [Due::TimeOutExec, Due::KillExec, Due::EndExec] {
            self.deadlines.cancel(due(number));
        }
        // One that cannot be killed has no exit of its own.
        let exit = exit.unwrap_or(Exit {
            code: killed_by(Signal::KILL.number()),
            at: Timestamp::now(),
            oom_killed: false,
            timed_out,
        });
        self.tell(Event::ExecExited { container, exec: id, exit: Exit { timed_out, ..exit } });
        // After the daemon was told: nobody waits for this.
        match self.container_index(container_number) {
            Some(index) => {
                self.containers[index].left_groups.push_back(cgroup);
                self.sweep_groups(index);
            }
            None => {
                if let Err(error) = cgroup.remove() {
                    self.complain("removing the control group of an exec", &error);
                }
            }
        }
        self.finish_shutdown();
    }

    /// Removes groups of ended execs, but not those in which processes that an exec left behind still run.
    fn sweep_groups(&mut self, index: usize) {
        for _ in 0..self.containers[index].left_groups.len().min(GROUPS_SWEPT_IN_A_ROW) {
            let Some(group) = self.containers[index].left_groups.pop_back() else { return };
            // A removal of one that is not empty would wait for it.
            if !matches!(group.is_empty(), Ok(true)) {
                self.containers[index].left_groups.push_front(group);
            } else if let Err(error) = group.remove() {
                self.complain("removing the control group of an exec", &error);
            }
        }
    }
}

/// What the process gets as its first three descriptors: those that came with the request, in their order.
fn stdio(io: ExecIo, descriptors: Vec<OwnedFd>) -> Result<Stdio, Refusal> {
    let (flags, terminal) = match io {
        ExecIo::Pipes { stdin, stdout, stderr } => ([stdin, stdout, stderr], None),
        ExecIo::Terminal { columns, rows } => ([false; 3], Some(Stdio::Terminal { columns, rows })),
    };
    let (announced, sent) = (flags.iter().filter(|flag| **flag).count(), descriptors.len());
    if announced != sent {
        let text = format!("the request announces {announced} descriptors and carries {sent}");
        return Err(Refusal::new(Class::Invalid, text));
    }
    if let Some(terminal) = terminal {
        return Ok(terminal);
    }
    let mut descriptors = descriptors.into_iter();
    let mut end = |flag: bool| match flag.then(|| descriptors.next()).flatten() {
        Some(end) => Ok(end),
        None => null().map_err(|errno| Refusal::from_errno("opening /dev/null", errno)),
    };
    Ok(Stdio::Pipes { stdin: end(flags[0])?, stdout: end(flags[1])?, stderr: end(flags[2])? })
}
