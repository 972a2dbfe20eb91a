//! Execs: started in a group of their own within the container's, killed alone, told of when they end.

use std::os::fd::{AsFd, OwnedFd};

use cradle_domain::{Class, Signal, Timestamp};
use cradle_executor::cgroup::{Cgroup, ExecGroup};
use cradle_executor::run::{self, StartError, Started, Starting};

use crate::container::{Exec, Retry};
use crate::deadlines::Due;
use crate::exec_state::{Action, Event as Happened, State, on};
use crate::limits::{EXEC_KILL_DEADLINE, EXECS_MAX, GROUPS_SWEPT_IN_A_ROW};
use crate::protocol::{Event, Exit, Refusal, StartExec};
use crate::shim::Shim;
use crate::streams;

use super::reap::killed_by;

impl Shim {
    /// Begins to start an exec; also returns its container's number, and its group.
    pub(crate) fn begin_exec(
        &mut self,
        request: &StartExec,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Starting, u32, ExecGroup), Refusal> {
        self.refuse_new_start()?;
        let (id, exec) = (&request.container, request.exec);
        let Some(index) = self.containers.iter().position(|container| container.id == *id) else {
            return Err(Refusal::new(Class::NotFound, format!("the pod has no container {}", id.short())));
        };
        if !self.containers[index].state.leader_lives() {
            return Err(Refusal::new(Class::Refused, format!("container {} is not running", id.short())));
        }
        if self.execs.iter().any(|other| other.id == exec) || self.starts.iter().any(|start| start.is_exec(exec)) {
            return Err(Refusal::new(Class::Conflict, format!("exec {} is running already", exec.0)));
        }
        if self.execs.len() >= EXECS_MAX {
            return Err(Refusal::new(Class::Exhausted, format!("{EXECS_MAX} execs are running in the pod")));
        }
        let stdio = streams::of_exec(request.io, descriptors)?;
        let group = self.exec_group(index)?;
        let container = &self.containers[index];
        match run::begin_exec(&request.plan, container.pidfd.as_fd(), &group, stdio, &self.single) {
            Ok(starting) => Ok((starting, container.number, group)),
            Err(error) => {
                self.remove_exec_group(&group.cgroup);
                Err(Refusal::from_error(&error))
            }
        }
    }

    /// A group for an exec: one that an earlier exec has left empty, or a new one.
    fn exec_group(&mut self, index: usize) -> Result<ExecGroup, Refusal> {
        if let Some(spare) = self.containers[index].spare_group.take() {
            if spare.is_usable() {
                return Ok(spare);
            }
            self.containers[index].left_groups.push_back(spare.cgroup);
        }
        let name = format!("exec-{}", self.next_number());
        let made = self.containers[index].cgroup.exec_child(&name);
        made.map_err(|source| Refusal::from_error(&StartError::ExecCgroup { source }))
    }

    fn remove_exec_group(&mut self, group: &Cgroup) {
        if let Err(error) = group.remove() {
            self.complain("removing the control group of an exec", &error);
        }
    }

    /// Enters an exec whose program runs; returns its terminal's master, which is the daemon's.
    pub(crate) fn hold_exec(
        &mut self,
        request: &StartExec,
        started: Started,
        container_number: u32,
        group: ExecGroup,
    ) -> Option<OwnedFd> {
        let Started { pid, pidfd, terminal_master, cgroup: _ } = started;
        let number = self.next_number();
        self.execs.push(Exec {
            number,
            id: request.exec,
            container: request.container.clone(),
            container_number,
            pid,
            pidfd,
            group,
            group_killed: false,
            state: State::Running,
            exit: None,
            timed_out: false,
            retry: Retry::default(),
        });
        if let Some(timeout) = request.timeout {
            self.deadlines.set(Due::TimeOutExec(number), timeout);
        }
        terminal_master
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
        let exec = &self.execs[index];
        let leader = exec.exit.is_none().then_some(&exec.pidfd);
        if self.clear_group(leader, &exec.group.cgroup) {
            self.exec_event(number, Happened::GroupEmptied);
        } else {
            self.execs[index].group_killed = true;
            let pause = self.execs[index].retry.pause();
            self.deadlines.set(Due::KillExec(number), pause);
        }
    }

    /// Tells of an exec's end and forgets it.
    fn end_exec(&mut self, number: u32) {
        let Some(index) = self.exec_index(number) else { return };
        let Exec { container, container_number, id, group, group_killed, exit, timed_out, .. } =
            self.execs.swap_remove(index);
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
            Some(index) => self.keep_or_sweep(index, group, group_killed),
            None => self.remove_exec_group(&group.cgroup),
        }
        self.finish_shutdown();
    }

    /// Keeps the group of an ended exec for the next one, or gets rid of it.
    fn keep_or_sweep(&mut self, index: usize, group: ExecGroup, killed: bool) {
        let container = &mut self.containers[index];
        if container.spare_group.is_none() && !killed && group.is_usable() {
            container.spare_group = Some(group);
        } else {
            container.left_groups.push_back(group.cgroup);
        }
        self.sweep_groups(index);
    }

    /// Removes groups of ended execs, but not those in which processes that an exec left behind still run.
    fn sweep_groups(&mut self, index: usize) {
        for _ in 0..self.containers[index].left_groups.len().min(GROUPS_SWEPT_IN_A_ROW) {
            let Some(group) = self.containers[index].left_groups.pop_back() else { return };
            // A removal of one that is not empty would wait for it.
            if !matches!(group.is_empty(), Ok(true)) {
                self.containers[index].left_groups.push_front(group);
            } else {
                self.remove_exec_group(&group);
            }
        }
    }
}
