//! Dead children: those of containers and execs, and orphans that came to the shim because it is their subreaper.

use cradle_domain::{Signal, Timestamp};
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus};

use crate::limits::REAPED_IN_A_ROW;
use crate::protocol::Exit;
use crate::shim::Shim;
use crate::{container_state, exec_state};

/// What a shell says of a process that a signal ended.
pub(super) fn killed_by(signal: i32) -> i32 {
    128 + signal
}

fn code(status: WaitStatus) -> i32 {
    match status.terminating_signal() {
        Some(signal) => killed_by(signal),
        // Stopped and continued children are not waited for.
        None => status.exit_status().unwrap_or_default(),
    }
}

impl Shim {
    /// Reaps what is dead, and looks again at what is being killed.
    pub(crate) fn reap(&mut self) {
        self.reap_again = true;
        for _ in 0..REAPED_IN_A_ROW {
            // A process id means the same process until it is reaped here, and nobody else reaps in this process.
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.on_death(pid.as_raw_nonzero().get(), status),
                Ok(None) | Err(Errno::CHILD) => {
                    self.reap_again = false;
                    break;
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.complain("reaping children", &std::io::Error::from(errno));
                    self.reap_again = false;
                    break;
                }
            }
        }
        self.look_at_those_being_killed();
    }

    fn on_death(&mut self, pid: i32, status: WaitStatus) {
        let (at, code) = (Timestamp::now(), code(status));
        if self.reaped_start(pid, status) {
            return;
        }
        let exit = Exit { code, at, oom_killed: false, timed_out: false };
        let container = self.containers.iter().find(|container| container.pid == pid && container.exit.is_none());
        if let Some(number) = container.map(|container| container.number) {
            self.oom_since_last_seen(number);
            if let Some(index) = self.container_index(number) {
                let container = &mut self.containers[index];
                container.exit = Some(Exit { oom_killed: container.oom_kills > 0, ..exit });
            }
            self.container_event(number, container_state::Event::LeaderDied);
            return;
        }
        let exec = self.execs.iter_mut().find(|exec| exec.pid == pid && exec.exit.is_none());
        if let Some(exec) = exec {
            let (number, container) = (exec.number, exec.container_number);
            exec.exit = Some(exit);
            if code == killed_by(Signal::KILL.number()) {
                let oom_killed = self.oom_since_last_seen(container);
                if let Some(index) = self.exec_index(number) {
                    self.execs[index].exit = Some(Exit { oom_killed, ..exit });
                }
            }
            self.exec_event(number, exec_state::Event::LeaderDied);
        }
    }

    /// Whether the kernel has killed for lack of memory in a container's group since this was last asked. It is asked
    /// while the group is there: the count ends with it.
    pub(super) fn oom_since_last_seen(&mut self, number: u32) -> bool {
        let Some(index) = self.container_index(number) else { return false };
        match self.containers[index].cgroup.oom_kills() {
            Ok(count) => std::mem::replace(&mut self.containers[index].oom_kills, count) < count,
            Err(error) => {
                self.complain("reading the count of processes killed for lack of memory", &error);
                false
            }
        }
    }

    fn look_at_those_being_killed(&mut self) {
        let clearing = self.containers.iter().filter(|container| container.state.is_clearing());
        let containers: Vec<u32> = clearing.map(|container| container.number).collect();
        for number in containers {
            self.container_event(number, container_state::Event::RetryDue);
        }
        let clearing = self.execs.iter().filter(|exec| exec.timed_out);
        let execs: Vec<u32> = clearing.map(|exec| exec.number).collect();
        for number in execs {
            self.exec_event(number, exec_state::Event::RetryDue);
        }
    }
}
