//! Starting containers and execs: begun here, taken up when their program runs, or cleaned up when it will not.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use cradle_domain::{Class, ContainerId, Signal, Timestamp};
use cradle_executor::cgroup::ExecGroup;
use cradle_executor::limits::{KILL_DEADLINE, START_DEADLINE};
use cradle_executor::run::{self, Progress, StartError, Starting};
use rustix::io::Errno;
use rustix::process::WaitStatus;

use crate::act::containers::too_many_kills;
use crate::connection::Waiter;
use crate::deadlines::Due;
use crate::journal::Level;
use crate::limits::{CONTAINERS_MAX, KILLS_WAITING_MAX, STARTS_MAX};
use crate::log_file::{LogFile, OpenLogError};
use crate::poll::{Interest, Source};
use crate::protocol::{Refusal, Reply, StartContainer, StartExec};
use crate::refusal::class_of;
use crate::shim::{Namespaces, Shim};
use crate::start_state::{Action, Event as Happened, State, on};
use crate::streams::{self, Ends};

/// A process on its way to its program.
#[derive(Debug)]
pub struct Start {
    /// Its number within this shim.
    number: u32,
    waiter: Waiter,
    starting: Starting,
    what: What,
    state: State,
    /// Why it will not get there, as far as known.
    refusal: Option<Refusal>,
    /// Those who want it killed and await its end.
    kills: Vec<Waiter>,
    /// The same container, to be started when nothing of this start is left.
    next: Option<(Waiter, Box<StartContainer>)>,
}

/// What it will be.
#[derive(Debug)]
enum What {
    Container { request: Box<StartContainer>, ends: Ends, log: Option<LogFile> },
    Exec { request: Box<StartExec>, container_number: u32, group: ExecGroup },
}

impl Start {
    /// Whether this is to be the first process of the container `id`.
    pub fn is_container(&self, id: &ContainerId) -> bool {
        matches!(&self.what, What::Container { request, .. } if request.plan.id == *id)
    }

    pub fn is_exec(&self, id: crate::protocol::ExecId) -> bool {
        matches!(&self.what, What::Exec { request, .. } if request.exec == id)
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether one of these is the reading end of its output.
    pub fn reads_from(&self, pipes: &[RawFd]) -> bool {
        let What::Container { ends: Ends { output: Some((stdout, stderr)), .. }, .. } = &self.what else {
            return false;
        };
        [stdout, stderr].iter().any(|end| pipes.contains(&end.as_raw_fd()))
    }

    /// Whether another process takes the place of its first one, on the way into a user namespace.
    fn has_successor(&self) -> bool {
        matches!(&self.what, What::Container { request, .. } if request.plan.user_namespace().is_some())
    }

    /// Who wants it killed is answered when it is gone.
    ///
    /// # Errors
    /// It cannot be killed, or too many wait already.
    pub fn await_end(&mut self, waiter: Waiter) -> Result<(), Refusal> {
        if self.state == State::Stuck {
            return Err(stuck());
        }
        if self.kills.len() >= KILLS_WAITING_MAX {
            return Err(too_many_kills());
        }
        self.kills.push(waiter);
        Ok(())
    }
}

impl Shim {
    /// Begins to start a container; the answer comes when its program runs. Asked again, by a daemon that came back, it
    /// is the same container that runs, or one whose earlier start has been undone first.
    pub(crate) fn start_container(&mut self, waiter: Waiter, request: Box<StartContainer>) {
        let id = &request.plan.id;
        if let Some(start) = self.starts.iter_mut().find(|start| start.is_container(id)) {
            let refusal = match start.state {
                State::Doomed if start.next.is_none() => return start.next = Some((waiter, request)),
                State::Stuck => stuck(),
                State::Underway | State::Doomed | State::Gone => {
                    Refusal::new(Class::Busy, "it is being started already")
                }
            };
            return self.refuse(&waiter, refusal);
        }
        if let Some(container) = self.containers.iter().find(|container| container.id == *id) {
            let started = Reply::Started { pid: container.pid, at: container.started_at };
            return self.answer(&waiter, started, Vec::new());
        }
        match self.begin_container(&request) {
            Ok((starting, ends, log)) => self.watch_start(waiter, starting, What::Container { request, ends, log }),
            Err(refusal) => self.refuse(&waiter, refusal),
        }
    }

    fn begin_container(&self, request: &StartContainer) -> Result<(Starting, Ends, Option<LogFile>), Refusal> {
        self.refuse_new_start()?;
        let StartContainer { plan, io } = request;
        if self.containers.len() >= CONTAINERS_MAX {
            return Err(Refusal::new(Class::Exhausted, format!("the pod has {CONTAINERS_MAX} containers")));
        }
        let Namespaces::Made(namespaces) = &self.namespaces else {
            return Err(Refusal::new(Class::Refused, "the pod is not set up"));
        };
        let log = io.log_path.as_deref().map(|path| LogFile::open(Path::new(path))).transpose();
        let log = log.map_err(|error| refuse_log(&error))?;
        let (stdio, ends) = streams::of_container(io, &self.writes)
            .map_err(|errno| Refusal::from_errno("making the container's pipes", errno))?;
        let starting =
            run::begin(plan, namespaces, stdio, &self.single).map_err(|error| Refusal::from_error(&error))?;
        Ok((starting, ends, log))
    }

    /// Begins to start one more process in a container; the answer comes when its program runs.
    pub(crate) fn start_exec(&mut self, waiter: Waiter, request: Box<StartExec>, descriptors: Vec<OwnedFd>) {
        match self.begin_exec(&request, descriptors) {
            Ok((starting, container_number, group)) => {
                self.watch_start(waiter, starting, What::Exec { request, container_number, group });
            }
            Err(refusal) => self.refuse(&waiter, refusal),
        }
    }

    pub(super) fn is_being_started(&self, id: &ContainerId) -> bool {
        self.starts.iter().any(|start| start.is_container(id))
    }

    pub(crate) fn refuse_new_start(&self) -> Result<(), Refusal> {
        self.refuse_while_shutting_down()?;
        if self.starts.len() >= STARTS_MAX {
            return Err(Refusal::new(Class::Exhausted, format!("{STARTS_MAX} processes are being started in the pod")));
        }
        Ok(())
    }

    fn watch_start(&mut self, waiter: Waiter, starting: Starting, what: What) {
        let number = self.next_number();
        let watched = self.poll.add(starting.line(), Source::Start(number), Interest::Readable);
        let (state, kills) = (State::Underway, Vec::new());
        self.starts.push(Start { number, waiter, starting, what, state, refusal: None, kills, next: None });
        self.deadlines.set(Due::EndStart(number), START_DEADLINE);
        if let Err(errno) = watched {
            self.doom_start(number, Refusal::from_errno("watching a process that is being started", errno));
        }
    }

    fn start_index(&self, number: u32) -> Option<usize> {
        self.starts.iter().position(|start| start.number == number)
    }

    /// Takes what a process has told of its start.
    pub(crate) fn advance_start(&mut self, number: u32) {
        let Some(index) = self.start_index(number) else { return };
        let Start { starting, what, state, .. } = &mut self.starts[index];
        let pid = starting.pid();
        let progress = starting.advance(match what {
            What::Container { request, .. } => &request.plan.steps,
            What::Exec { request, .. } => &request.plan.steps,
        });
        // A kill of the process whose place another one has taken was meant for that one.
        if starting.pid() != pid && *state != State::Underway {
            self.send_kill(number);
        }
        match progress {
            Progress::Underway => {}
            Progress::Runs => self.start_event(number, Happened::Runs),
            Progress::Failed(error) => self.doom_start(number, Refusal::from_error(&error)),
            // Its death will be seen; the end of its line would be reported until then.
            Progress::Dead => self.poll.remove(self.starts[index].starting.line()),
        }
    }

    /// It is known why it will not start. The first reason counts.
    fn doom_start(&mut self, number: u32, refusal: Refusal) {
        if let Some(index) = self.start_index(number) {
            self.starts[index].refusal.get_or_insert(refusal);
            self.start_event(number, Happened::Failed);
        }
    }

    /// Somebody wants it killed, and what was to follow it; or nobody is there any more to be told.
    pub(crate) fn kill_start(&mut self, number: u32) {
        if let Some(index) = self.start_index(number) {
            if let Some((waiter, _)) = self.starts[index].next.take() {
                self.refuse(&waiter, killed());
            }
            self.starts[index].refusal.get_or_insert_with(killed);
            self.start_event(number, Happened::KillAsked);
        }
    }

    /// It takes too long to start, or to die.
    pub(crate) fn end_start(&mut self, number: u32) {
        if let Some(index) = self.start_index(number) {
            self.starts[index].refusal.get_or_insert_with(|| Refusal::from_error(&StartError::Deadline));
            self.start_event(number, Happened::Late);
        }
    }

    /// A child is dead; true: it was on its way to its program.
    pub(crate) fn reaped_start(&mut self, pid: i32, status: WaitStatus) -> bool {
        let Some(number) = self.start_of(pid) else { return false };
        // It may have told that its program runs, and that program have ended, before this was looked at.
        self.advance_start(number);
        let Some(index) = self.start_index(number) else { return false };
        // Another process had taken its place.
        if self.starts[index].starting.pid() != pid {
            return true;
        }
        if self.starts[index].refusal.is_none() {
            self.starts[index].refusal = Some(match status.terminating_signal() {
                Some(signal) if signal == Signal::KILL.number() && !self.is_short_of_memory(index) => killed(),
                Some(signal) => Refusal::from_error(&run::died_by(signal)),
                None => Refusal::from_error(&run::ended_with(status.exit_status().unwrap_or_default())),
            });
        }
        self.start_event(number, Happened::Reaped);
        true
    }

    /// Whether the kernel has killed in the group of a process that did not start, for lack of memory.
    fn is_short_of_memory(&mut self, index: usize) -> bool {
        match &self.starts[index].what {
            What::Container { .. } => self.starts[index].starting.cgroup().oom_kills().is_ok_and(|count| count > 0),
            What::Exec { container_number, .. } => self.oom_since_last_seen(*container_number),
        }
    }

    /// The start whose process this is; perhaps it has become so without having been heard of yet.
    fn start_of(&mut self, pid: i32) -> Option<u32> {
        let known = |shim: &Self| shim.starts.iter().find(|start| start.starting.pid() == pid).map(Start::number);
        if let Some(number) = known(self) {
            return Some(number);
        }
        let succeeded = self.starts.iter().filter(|start| start.has_successor()).map(Start::number);
        for number in succeeded.collect::<Vec<_>>() {
            self.advance_start(number);
        }
        known(self)
    }

    /// Looks an event up in the table and does what it says.
    fn start_event(&mut self, number: u32, event: Happened) {
        let Some(index) = self.start_index(number) else { return };
        let (state, actions) = on(self.starts[index].state, event);
        self.starts[index].state = state;
        for action in actions {
            match action {
                Action::Hold => return self.hold_start(number),
                Action::Kill => self.send_kill(number),
                Action::Refuse => self.refuse_start(number),
                Action::CleanUp => self.clean_up_start(number),
            }
        }
        if state == State::Gone {
            self.forget_start(number);
        }
    }

    fn send_kill(&mut self, number: u32) {
        let Some(index) = self.start_index(number) else { return };
        // What it tells from now on changes nothing.
        self.poll.remove(self.starts[index].starting.line());
        // It may be dead already, and is reaped in any case.
        let _ = cradle_sys::pidfd::send_signal(self.starts[index].starting.pidfd(), Signal::KILL.number());
        self.deadlines.set(Due::EndStart(number), KILL_DEADLINE);
    }

    fn refuse_start(&mut self, number: u32) {
        let Some(index) = self.start_index(number) else { return };
        let waiter = self.starts[index].waiter.clone();
        let unknown = || Refusal::new(Class::Bug, "a process did not start for an unknown reason");
        let refusal = self.starts[index].refusal.take().unwrap_or_else(unknown);
        self.refuse(&waiter, refusal);
        if self.starts[index].state == State::Stuck {
            self.tell_that_it_is_stuck(index);
        }
    }

    /// Nobody waits any longer for the end of a process that cannot be killed.
    fn tell_that_it_is_stuck(&mut self, index: usize) {
        let start = &mut self.starts[index];
        let next = start.next.take().map(|(waiter, _)| waiter);
        for waiter in std::mem::take(&mut start.kills).into_iter().chain(next) {
            self.refuse(&waiter, stuck());
        }
    }

    fn clean_up_start(&mut self, number: u32) {
        let Some(index) = self.start_index(number) else { return };
        let group = self.starts[index].starting.cgroup();
        let _empty = self.clear_group(None, group);
        if let Err(error) = group.remove() {
            self.complain("removing the control group of a process that did not start", &error);
        }
    }

    fn forget_start(&mut self, number: u32) {
        let Some(index) = self.start_index(number) else { return };
        let start = self.starts.swap_remove(index);
        self.poll.remove(start.starting.line());
        self.deadlines.cancel(Due::EndStart(number));
        for waiter in start.kills {
            self.answer(&waiter, Reply::Done, Vec::new());
        }
        if let Some((waiter, request)) = start.next {
            self.start_container(waiter, request);
        }
        self.finish_shutdown();
    }

    /// Its program runs: it becomes a container or an exec.
    fn hold_start(&mut self, number: u32) {
        let at = Timestamp::now();
        let Some(index) = self.start_index(number) else { return };
        let Start { waiter, starting, what, .. } = self.starts.swap_remove(index);
        self.poll.remove(starting.line());
        self.deadlines.cancel(Due::EndStart(number));
        let pid = starting.pid();
        let started = starting.into_started();
        match what {
            What::Container { request, ends, log } => match self.hold_container(&request, started, ends, log, at) {
                Ok(()) => {
                    let text = format!("container {} runs", request.plan.id.short());
                    self.journal.write(Level::Info, &waiter.request_id, &text);
                    self.answer(&waiter, Reply::Started { pid, at }, Vec::new());
                }
                Err(refusal) => self.refuse(&waiter, refusal),
            },
            What::Exec { request, container_number, group } => {
                let master = self.hold_exec(&request, started, container_number, group);
                self.answer(&waiter, Reply::Started { pid, at }, master.into_iter().collect());
            }
        }
    }
}

/// By somebody's wish, or with its container: whose end kills every process in its PID namespace.
fn killed() -> Refusal {
    Refusal::new(Class::Refused, "it was killed before its program ran")
}

fn stuck() -> Refusal {
    Refusal::new(Class::Deadline, "a process of it that was to start cannot be killed")
        .with_hint("It may wait for a device or a file system: see its stack in /proc.")
}

pub(super) fn refuse_log(error: &OpenLogError) -> Refusal {
    let class = match error {
        OpenLogError::NotAbsolute { .. } => Class::Invalid,
        OpenLogError::Folder { source, .. } | OpenLogError::Open { source, .. } => {
            Errno::from_io_error(source).map_or(Class::Unavailable, class_of)
        }
    };
    Refusal::new(class, cradle_domain::failure::Chain(error).to_string())
}
