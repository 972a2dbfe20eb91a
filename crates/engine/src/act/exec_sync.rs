//! ExecSync: the process's pipes are made here and handed to it; the shim starts it, bounds it and tells its end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cradle_domain::lifecycle::container::ContainerRequest;
use cradle_domain::{Class, Failure};
use cradle_shim::protocol::{ExecId, ExecIo, Exit, Request, Scope, StartExec, Target};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::start_container;
use crate::container::Container;
use crate::engine::{Core, ExecOutput};
use crate::pod::Pod;
use crate::ports::ShimLink;
use crate::{limits, request};

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

pub(crate) async fn exec_sync(
    core: &Arc<Core>,
    container: Arc<Container>,
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecOutput, Failure> {
    container.admit(ContainerRequest::Exec)?;
    if command.is_empty() {
        return Err(Failure::new(Class::Invalid, "the command to execute is empty"));
    }
    let doing = |failure: Failure| failure.context(format!("executing {:?} in container {}", command[0], container.id));
    let pod = core.pod_of(&container)?;
    let link = pod.shim()?;
    let plan = start_container::exec_plan(core, &pod, &container, &command, false).await.map_err(doing)?;
    let (stdout, stdout_end) = open_pipe().map_err(no_pipe).map_err(doing)?;
    let (stderr, stderr_end) = open_pipe().map_err(no_pipe).map_err(doing)?;
    let (exec, ended) = pod.begin_exec();
    let start = Request::StartExec(Box::new(StartExec {
        container: container.id.clone(),
        exec,
        plan,
        io: ExecIo::Pipes { stdin: false, stdout: true, stderr: true },
        timeout,
    }));
    let running = Running { pod, link, container: container.clone(), exec, ended: false };
    running.link.call(&request::current(), start, vec![stdout_end, stderr_end]).await.map_err(doing)?;
    running.outcome(stdout, stderr, ended, timeout).await.map_err(doing)
}

/// Its end that is read from here does not block; the process's does, as programs expect.
fn open_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((pipe::Receiver::from_owned_fd(reader)?, writer))
}

fn no_pipe(error: io::Error) -> Failure {
    Failure::new(Class::Exhausted, format!("making a pipe for its output: {error}"))
        .with_hint("the daemon is out of descriptors")
}

/// An exec that was started. When the one who asked leaves before its end, its whole tree is killed.
struct Running {
    pod: Arc<Pod>,
    link: Arc<dyn ShimLink>,
    container: Arc<Container>,
    exec: ExecId,
    ended: bool,
}

impl Running {
    async fn outcome(
        mut self,
        mut stdout: pipe::Receiver,
        mut stderr: pipe::Receiver,
        ended: oneshot::Receiver<Exit>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, Failure> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let left = AtomicUsize::new(limits::EXEC_OUTPUT_MAX_BYTES);
        let exit = {
            let reading = async { tokio::join!(drain(&mut stdout, &mut out, &left), drain(&mut stderr, &mut err, &left)) };
            tokio::pin!(reading);
            let ended = bounded(ended, timeout);
            tokio::pin!(ended);
            tokio::select! {
                // Both streams are closed: the end is about to be told.
                _ = &mut reading => ended.await,
                exit = &mut ended => {
                    // Children that it left may hold the pipes for ever.
                    let _ = tokio::time::timeout(limits::EXEC_DRAIN, reading).await;
                    exit
                }
            }
        };
        let exit = exit.ok_or_else(|| self.lost(timeout))?;
        self.ended = true;
        if exit.timed_out {
            return Err(timed_out(timeout));
        }
        Ok(ExecOutput { stdout: out, stderr: err, exit_code: exit.code })
    }

    fn lost(&self, timeout: Option<Duration>) -> Failure {
        match (self.pod.link(), timeout) {
            (Some(_), Some(_)) => timed_out(timeout).with_hint("its processes could not be killed in time"),
            _ => Failure::new(Class::Unavailable, "the pod's shim ended before the command did"),
        }
    }
}

fn timed_out(timeout: Option<Duration>) -> Failure {
    Failure::new(Class::Deadline, format!("timeout {:?} exceeded, and the command was killed", timeout.unwrap_or_default()))
}

/// The exit that the shim tells; none when it is gone, or does not tell in time.
async fn bounded(ended: oneshot::Receiver<Exit>, timeout: Option<Duration>) -> Option<Exit> {
    match timeout {
        // The shim keeps the time; this only ends the wait for a shim that does not.
        Some(timeout) => tokio::time::timeout(timeout + limits::EXEC_KILL, ended).await.ok()?.ok(),
        None => ended.await.ok(),
    }
}

/// Reads until the end; what is beyond the bound of both streams together is read and dropped.
async fn drain(from: &mut pipe::Receiver, to: &mut Vec<u8>, left: &AtomicUsize) {
    let mut spill = Vec::new();
    loop {
        let room = left.load(Ordering::Relaxed).min(READ_BYTES);
        let read = if room == 0 {
            spill.clear();
            spill.reserve(READ_BYTES);
            from.read_buf(&mut spill).await
        } else {
            to.reserve(READ_BYTES);
            let mut limited = from.take(room as u64);
            let read = limited.read_buf(to).await;
            // The other stream may have used the same room meanwhile.
            let used = *read.as_ref().unwrap_or(&0);
            left.store(left.load(Ordering::Relaxed).saturating_sub(used), Ordering::Relaxed);
            read
        };
        match read {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.pod.end_exec(self.exec, None);
        if self.ended {
            return;
        }
        let (link, request_id) = (self.link.clone(), request::current());
        let target = Target::Exec(self.container.id.clone(), self.exec);
        request::spawn(async move {
            let kill = Request::Signal { target, signal: 9, scope: Scope::Group };
            // It may have ended by itself meanwhile.
            let _ = link.call(&request_id, kill, Vec::new()).await;
        });
    }
}
