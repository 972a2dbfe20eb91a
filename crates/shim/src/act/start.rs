//! Setting up the pod and starting containers.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use cradle_domain::{Class, Timestamp};
use cradle_executor::pod::{self, PodPlan};
use cradle_executor::run::{self, Started, Stdio};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::connection::Waiter;
use crate::container::{Container, Retry, Stdin};
use crate::container_state::State;
use crate::journal::Level;
use crate::limits::{CONTAINERS_MAX, LOG_LINE_DEFAULT_BYTES, LOG_LINE_MAX_BYTES, TERMINAL_COLUMNS, TERMINAL_ROWS};
use crate::log_file::{LogFile, OpenLogError};
use crate::output::Output;
use crate::protocol::{ContainerIo, Refusal, Reply, StartContainer};
use crate::refusal::class_of;
use crate::shim::{Namespaces, Shim};

impl Shim {
    /// Makes the pod's namespaces and answers with what the daemon needs to build the pod's network.
    pub(crate) fn set_up_pod(&mut self, waiter: &Waiter, plan: &PodPlan) {
        match self.try_set_up(plan) {
            Ok(descriptors) => {
                self.journal.write(Level::Info, &waiter.request_id, "the pod is set up");
                self.answer(waiter, Reply::PodReady, descriptors);
            }
            Err(refusal) => self.refuse(waiter, refusal),
        }
    }

    fn try_set_up(&mut self, plan: &PodPlan) -> Result<Vec<OwnedFd>, Refusal> {
        self.refuse_while_shutting_down()?;
        match self.namespaces {
            Namespaces::NotYet => {}
            Namespaces::Made(_) => return Err(Refusal::new(Class::Refused, "the pod is set up already")),
            Namespaces::Failed => {
                let refusal = Refusal::new(Class::Refused, "the pod could not be set up before");
                return Err(refusal.with_hint("What was done of it ends with this shim: shut it down."));
            }
        }
        // This process lives in some of them even if others could not be made.
        self.namespaces = Namespaces::Failed;
        let namespaces = pod::set_up(plan, &self.single).map_err(|error| Refusal::from_error(&error))?;
        let descriptors = copies([namespaces.netlink.as_ref(), namespaces.network.as_ref()])
            .map_err(|errno| Refusal::from_errno("handing over the pod's network namespace", errno))?;
        self.namespaces = Namespaces::Made(namespaces);
        Ok(descriptors)
    }

    /// Starts a container and answers when its program runs.
    pub(crate) fn start_container(&mut self, waiter: &Waiter, request: &StartContainer) {
        match self.try_start(request) {
            Ok(reply) => {
                let text = format!("container {} runs", request.plan.id.short());
                self.journal.write(Level::Info, &waiter.request_id, &text);
                self.answer(waiter, reply, Vec::new());
            }
            Err(refusal) => self.refuse(waiter, refusal),
        }
    }

    fn try_start(&mut self, request: &StartContainer) -> Result<Reply, Refusal> {
        self.refuse_while_shutting_down()?;
        let StartContainer { plan, io } = request;
        if self.containers.iter().any(|container| container.id == plan.id) {
            return Err(Refusal::new(Class::Refused, format!("container {} was started already", plan.id.short())));
        }
        if self.containers.len() >= CONTAINERS_MAX {
            return Err(Refusal::new(Class::Exhausted, format!("the pod has {CONTAINERS_MAX} containers")));
        }
        let Namespaces::Made(namespaces) = &self.namespaces else {
            return Err(Refusal::new(Class::Refused, "the pod is not set up"));
        };
        let log = io.log_path.as_deref().map(|path| LogFile::open(Path::new(path))).transpose();
        let log = log.map_err(|error| refuse_log(&error))?;
        let streams = Streams::new(io).map_err(|errno| Refusal::from_errno("making the container's pipes", errno))?;
        let Streams { theirs, ours } = streams;
        let started =
            run::start(plan, namespaces, theirs, &self.single).map_err(|error| Refusal::from_error(&error))?;
        let at = Timestamp::now();
        let pid = started.pid;
        self.hold(request, started, ours, log, at)?;
        Ok(Reply::Started { pid, at })
    }

    /// Enters a started container into the table. Where that fails, it is killed: nobody would watch it.
    fn hold(
        &mut self,
        request: &StartContainer,
        started: Started,
        ours: Ours,
        log: Option<LogFile>,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let Started { pid, pidfd, terminal_master, cgroup } = started;
        let line_max = line_max(&request.io);
        let output = match (terminal_master, ours) {
            (Some(master), ours) => {
                let nonblocking = rustix::io::ioctl_fionbio(&master, true);
                nonblocking.map(|()| (Output::terminal(master, log, line_max), ours.stdin))
            }
            (None, Ours { stdin, output: Some((stdout, stderr)) }) => {
                Ok((Output::pipes(stdout, stderr, log, line_max), stdin))
            }
            // A plan for a terminal always gives one.
            (None, Ours { output: None, .. }) => Err(Errno::NOTTY),
        };
        let number = self.next_number();
        let watched = output.and_then(|(output, stdin)| output.register(&self.poll, number).map(|()| (output, stdin)));
        match watched {
            Ok((output, stdin)) => {
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
                    stdin,
                    kills: Vec::new(),
                    retry: Retry::default(),
                    left_groups: VecDeque::new(),
                });
                Ok(())
            }
            Err(errno) => {
                self.abandon(&pidfd, &cgroup);
                Err(Refusal::from_errno("watching the container's output", errno))
            }
        }
    }

    pub(crate) fn refuse_while_shutting_down(&self) -> Result<(), Refusal> {
        match self.shutdown {
            Some(_) => Err(Refusal::new(Class::Refused, "the pod is being shut down")),
            None => Ok(()),
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

pub(super) fn refuse_log(error: &OpenLogError) -> Refusal {
    let class = match error {
        OpenLogError::NotAbsolute { .. } => Class::Invalid,
        OpenLogError::Folder { source, .. } | OpenLogError::Open { source, .. } => {
            Errno::from_io_error(source).map_or(Class::Unavailable, class_of)
        }
    };
    Refusal::new(class, cradle_domain::failure::Chain(error).to_string())
}

fn copies<const N: usize>(descriptors: [Option<&OwnedFd>; N]) -> Result<Vec<OwnedFd>, Errno> {
    descriptors.into_iter().flatten().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3)).collect()
}

/// Both sides of a container's stdio.
struct Streams {
    theirs: Stdio,
    ours: Ours,
}

/// The shim's ends.
struct Ours {
    stdin: Stdin,
    /// The reading ends of stdout and stderr; none: there is a terminal.
    output: Option<(OwnedFd, OwnedFd)>,
}

impl Streams {
    fn new(io: &ContainerIo) -> Result<Self, Errno> {
        if io.terminal {
            let theirs = Stdio::Terminal { columns: TERMINAL_COLUMNS, rows: TERMINAL_ROWS };
            let stdin = if io.stdin { Stdin::Terminal } else { Stdin::None };
            return Ok(Streams { theirs, ours: Ours { stdin, output: None } });
        }
        let (stdin, our_stdin) = match (io.stdin, io.stdin_once) {
            (false, _) => (null()?, Stdin::None),
            (true, once) => {
                let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                (reader, if once { Stdin::Once(writer) } else { Stdin::Shared(writer) })
            }
        };
        let (our_stdout, stdout) = output_pipe()?;
        let (our_stderr, stderr) = output_pipe()?;
        let theirs = Stdio::Pipes { stdin, stdout, stderr };
        Ok(Streams { theirs, ours: Ours { stdin: our_stdin, output: Some((our_stdout, our_stderr)) } })
    }
}

/// A pipe whose reading end does not block; the writing end does, as programs expect.
fn output_pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(reader.as_fd(), true)?;
    Ok((reader, writer))
}

/// What reads as empty and swallows what is written.
pub(crate) fn null() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}
