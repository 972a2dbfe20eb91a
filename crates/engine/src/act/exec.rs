//! Exec: one more process in a container, whose streams belong to the one who asked for it.
//!
//! The ends of its pipes are made here and handed to the shim, which starts it and tells its end; of a terminal the
//! shim hands over the master and keeps none. What whoever asked reads and writes passes through nobody else.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cradle_domain::lifecycle::container::ContainerRequest;
use cradle_domain::{Class, Failure, Signal};
use cradle_shim::protocol::{ExecId, ExecIo, Exit, Request, Scope, StartExec, Target};
use rustix::pipe::PipeFlags;
use tokio::sync::oneshot;

use super::start_container;
use crate::container::Container;
use crate::engine::Core;
use crate::pod::Pod;
use crate::ports::ShimLink;
use crate::request;

/// What a command is to be connected to.
#[derive(Debug, Clone, Copy)]
pub enum ExecStreams {
    /// Pipes; what is not wanted is `/dev/null`.
    Pipes { stdin: bool, stdout: bool, stderr: bool },
    /// A terminal of this size at first.
    Terminal { columns: u16, rows: u16 },
}

/// Our ends of what a command is connected to. They block.
#[derive(Debug)]
pub enum ExecEnds {
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    },
    /// The terminal's master: when its last copy is closed, the terminal hangs up.
    Terminal(OwnedFd),
}

/// A command that runs in a container. Dropped before its end, it is hung up: all its processes get SIGHUP, as from a
/// terminal whose line is cut; those that are to outlive it ignore that (nohup(1)).
pub struct Exec {
    running: Running,
}

impl Exec {
    /// Waits for the command's end and gives its exit code, or 128 and the number of the signal that ended it.
    ///
    /// # Errors
    /// The pod's shim ended before the command did.
    pub async fn ended(&mut self) -> Result<i32, Failure> {
        self.running.exit().await.map(|exit| exit.code).ok_or_else(shim_gone)
    }
}

pub(crate) async fn exec(
    core: &Core,
    container: Arc<Container>,
    command: &[String],
    streams: ExecStreams,
) -> Result<(Exec, ExecEnds), Failure> {
    let doing = |failure: Failure| in_context(failure, &container, command);
    let (io, ours, theirs) = match streams {
        ExecStreams::Terminal { columns, rows } => (ExecIo::Terminal { columns, rows }, None, Vec::new()),
        ExecStreams::Pipes { stdin, stdout, stderr } => {
            let (ours, theirs) = pipes(stdin, stdout, stderr).map_err(doing)?;
            (ExecIo::Pipes { stdin, stdout, stderr }, Some(ours), theirs)
        }
    };
    let start = Start { command, io, ends: theirs, timeout: None, when_left: Signal::HUP };
    let (running, mut answered) = Running::start(core, container.clone(), start).await?;
    let exec = Exec { running };
    let master = || {
        let master = answered.pop().ok_or_else(|| Failure::new(Class::Bug, "the shim's answer has no terminal"));
        master.map(ExecEnds::Terminal).map_err(doing)
    };
    Ok((exec, ours.map_or_else(master, Ok)?))
}

/// The pipes that are wanted: our ends, and those of the process in the order that the shim expects.
fn pipes(stdin: bool, stdout: bool, stderr: bool) -> Result<(ExecEnds, Vec<OwnedFd>), Failure> {
    let mut theirs = Vec::new();
    let mut outgoing = |wanted: bool| -> Result<Option<OwnedFd>, Failure> {
        if !wanted {
            return Ok(None);
        }
        let (reader, writer) = pipe()?;
        theirs.push(writer);
        Ok(Some(reader))
    };
    let (stdout, stderr) = (outgoing(stdout)?, outgoing(stderr)?);
    let stdin = if stdin {
        let (reader, writer) = pipe()?;
        theirs.insert(0, reader);
        Some(writer)
    } else {
        None
    };
    Ok((ExecEnds::Pipes { stdin, stdout, stderr }, theirs))
}

/// A pipe's reading and writing end. Both block, as programs expect.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| {
        let failure = Failure::new(Class::Exhausted, format!("making a pipe for a command: {errno}"));
        failure.with_hint("the daemon is out of descriptors")
    })
}

pub(super) fn in_context(failure: Failure, container: &Container, command: &[String]) -> Failure {
    let program = command.first().map_or("", String::as_str);
    failure.context(format!("executing {program:?} in container {}", container.id))
}

pub(super) fn shim_gone() -> Failure {
    Failure::new(Class::Unavailable, "the pod's shim ended before the command did")
}

/// A command to be started.
pub(super) struct Start<'a> {
    pub command: &'a [String],
    pub io: ExecIo,
    /// The process's ends of its pipes.
    pub ends: Vec<OwnedFd>,
    pub timeout: Option<Duration>,
    /// What all its processes get if whoever asked leaves before its end.
    pub when_left: Signal,
}

/// A command that was started.
pub(super) struct Running {
    pub pod: Arc<Pod>,
    link: Arc<dyn ShimLink>,
    container: Arc<Container>,
    exec: ExecId,
    ended: oneshot::Receiver<Exit>,
    when_left: Signal,
    over: bool,
}

impl Running {
    /// Starts a command and returns the descriptors that came with the shim's answer.
    pub async fn start(
        core: &Core,
        container: Arc<Container>,
        start: Start<'_>,
    ) -> Result<(Running, Vec<OwnedFd>), Failure> {
        let Start { command, io, ends, timeout, when_left } = start;
        container.admit(ContainerRequest::Exec)?;
        if command.is_empty() {
            return Err(Failure::new(Class::Invalid, "the command to execute is empty"));
        }
        let pod = core.pod_of(&container)?;
        let link = pod.shim()?;
        let terminal = matches!(io, ExecIo::Terminal { .. });
        let plan = start_container::exec_plan(core, &pod, &container, command, terminal).await;
        let plan = plan.map_err(|failure| in_context(failure, &container, command))?;
        let (exec, ended) = pod.begin_exec();
        let request = StartExec { container: container.id.clone(), exec, plan, io, timeout };
        let running = Running { pod, link, container, exec, ended, when_left, over: false };
        let request = Request::StartExec(Box::new(request));
        match running.link.call(&request::current(), request, ends).await {
            Ok((_, answered)) => Ok((running, answered)),
            Err(failure) => Err(in_context(failure, &running.container, command)),
        }
    }

    /// Waits for the end; none: the shim is gone.
    pub async fn exit(&mut self) -> Option<Exit> {
        let exit = (&mut self.ended).await.ok();
        self.over = true;
        exit
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.pod.end_exec(self.exec, None);
        if self.over {
            return;
        }
        let (link, request_id) = (self.link.clone(), request::current());
        let target = Target::Exec(self.container.id.clone(), self.exec);
        let signal = self.when_left.number();
        request::spawn(async move {
            let end = Request::Signal { target, signal, scope: Scope::Group };
            // It may have ended by itself meanwhile.
            let _ = link.call(&request_id, end, Vec::new()).await;
        });
    }
}
