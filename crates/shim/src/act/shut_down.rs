//! The end of the pod: everything killed and reaped, recorded and removed, and the last answer given.

use std::time::Instant;

use cradle_domain::Class;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::process::WaitOptions;

use crate::act::start::Start;
use crate::connection::{Pending, Waiter};
use crate::container_state::{Event as Happened, State};
use crate::deadlines::Due;
use crate::journal::Level;
use crate::limits::{FAREWELL_DEADLINE, SHUTDOWN_DEADLINE};
use crate::protocol::{Refusal, Reply};
use crate::shim::{Namespaces, Shim};

/// The name of the listening socket in the shim's folder.
const SOCKET: &str = "shim.sock";

impl Shim {
    /// Begins to shut down. Asked again, the later one is answered.
    pub(crate) fn shut_down(&mut self, waiter: Waiter) {
        self.journal.write(Level::Info, &waiter.request_id, "the pod is being shut down");
        self.shutdown = Some(waiter);
        self.deadlines.set(Due::GiveUpShutdown, SHUTDOWN_DEADLINE);
        let starts: Vec<u32> = self.starts.iter().map(Start::number).collect();
        for number in starts {
            self.kill_start(number);
        }
        let numbers: Vec<u32> = self.containers.iter().map(|container| container.number).collect();
        for number in numbers {
            self.container_event(number, Happened::KillAsked);
        }
        self.finish_shutdown();
    }

    /// Ends the shim if it is being shut down and nothing runs any more.
    pub(crate) fn finish_shutdown(&mut self) {
        let quiet = self.starts.is_empty()
            && self.execs.is_empty()
            && self.containers.iter().all(|container| container.state == State::Exited);
        if !quiet || self.finished {
            return;
        }
        let Some(waiter) = self.shutdown.take() else { return };
        self.deadlines.cancel(Due::GiveUpShutdown);
        for index in 0..self.containers.len() {
            if let Err(error) = self.containers[index].cgroup.remove() {
                self.complain("removing a container's control group", &error);
            }
        }
        // Orphans in the groups that were just found empty; whoever gets them from us may be slow to bury them.
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        // With them goes the init of a shared PID namespace.
        self.namespaces = Namespaces::Failed;
        // Before the answer: the daemon then removes the folder.
        match rustix::fs::unlinkat(&self.directory, SOCKET, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => self.complain("removing the shim's socket", &std::io::Error::from(errno)),
        }
        self.answer(&waiter, Reply::Done, Vec::new());
        self.say_farewell();
        self.journal.write(Level::Info, &waiter.request_id, "the pod is shut down");
        self.finished = true;
    }

    /// Waits, with a bound, until the daemon has taken what was sent to it.
    fn say_farewell(&mut self) {
        let end = Instant::now() + FAREWELL_DEADLINE;
        while let Some(connection) = self.connection.as_mut() {
            let left = end.saturating_duration_since(Instant::now());
            if connection.flush().ok() != Some(Pending::Some) || left.is_zero() {
                return;
            }
            let seconds = i64::try_from(left.as_secs()).unwrap_or_default();
            let timeout = Timespec { tv_sec: seconds, tv_nsec: i64::from(left.subsec_nanos()) };
            let socket = connection.socket();
            let mut waiting = [PollFd::new(&socket, PollFlags::OUT)];
            // Whatever it says, the next attempt to send tells what is the matter.
            let _ = rustix::event::poll(&mut waiting, Some(&timeout));
        }
    }

    /// Something cannot be killed: the shim stays, as what it knows is needed, and the daemon asks again.
    pub(crate) fn give_up_shutdown(&mut self) {
        let Some(waiter) = self.shutdown.take() else { return };
        let left: Vec<String> = self
            .containers
            .iter()
            .filter(|container| container.state != State::Exited)
            .map(|container| container.id.short().to_owned())
            .collect();
        let text = format!("processes of the pod cannot be killed (containers: {})", left.join(", "));
        let hint = "They may wait for a device or a file system: see their stack in /proc.";
        self.refuse(&waiter, Refusal::new(Class::Deadline, text).with_hint(hint));
    }
}
