//! ExecSync: a command whose output is gathered, bounded in size and time.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cradle_domain::{Class, Failure, Signal};
use cradle_shim::protocol::{ExecIo, Exit};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::exec::{self, Running, Start};
use crate::container::Container;
use crate::engine::{Core, ExecOutput};
use crate::limits;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

pub(crate) async fn exec_sync(
    core: &Core,
    container: Arc<Container>,
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecOutput, Failure> {
    let doing = |failure: Failure| exec::in_context(failure, &container, &command);
    let (stdout, stdout_end) = open_pipe().map_err(doing)?;
    let (stderr, stderr_end) = open_pipe().map_err(doing)?;
    let start = Start {
        command: &command,
        io: ExecIo::Pipes { stdin: false, stdout: true, stderr: true },
        ends: vec![stdout_end, stderr_end],
        timeout,
        // Nobody reads its output any more.
        when_left: Signal::KILL,
    };
    let (mut running, _) = Running::start(core, container.clone(), start).await?;
    outcome(&mut running, stdout, stderr, timeout).await.map_err(doing)
}

/// Its end that is read from here does not block; the process's does, as programs expect.
fn open_pipe() -> Result<(pipe::Receiver, OwnedFd), Failure> {
    let (reader, writer) = exec::pipe()?;
    let watched = || {
        rustix::io::ioctl_fionbio(&reader, true)?;
        pipe::Receiver::from_owned_fd(reader)
    };
    let watched = watched()
        .map_err(|error: io::Error| Failure::new(Class::Exhausted, format!("watching a command's output: {error}")));
    Ok((watched?, writer))
}

async fn outcome(
    running: &mut Running,
    mut stdout: pipe::Receiver,
    mut stderr: pipe::Receiver,
    timeout: Option<Duration>,
) -> Result<ExecOutput, Failure> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let left = AtomicUsize::new(limits::EXEC_OUTPUT_MAX_BYTES);
    let exit = {
        let reading = async { tokio::join!(drain(&mut stdout, &mut out, &left), drain(&mut stderr, &mut err, &left)) };
        tokio::pin!(reading);
        let ended = bounded(running, timeout);
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
    let exit = exit.ok_or_else(|| lost(running, timeout))?;
    if exit.timed_out {
        return Err(timed_out(timeout));
    }
    Ok(ExecOutput { stdout: out, stderr: err, exit_code: exit.code })
}

fn lost(running: &Running, timeout: Option<Duration>) -> Failure {
    match (running.pod.link(), timeout) {
        (Some(_), Some(_)) => timed_out(timeout).with_hint("its processes could not be killed in time"),
        _ => exec::shim_gone(),
    }
}

fn timed_out(timeout: Option<Duration>) -> Failure {
    Failure::new(
        Class::Deadline,
        format!("timeout {:?} exceeded, and the command was killed", timeout.unwrap_or_default()),
    )
}

/// The exit that the shim tells; none when it is gone, or does not tell in time.
async fn bounded(running: &mut Running, timeout: Option<Duration>) -> Option<Exit> {
    match timeout {
        // The shim keeps the time; this only ends the wait for a shim that does not.
        Some(timeout) => tokio::time::timeout(timeout + limits::EXEC_KILL, running.exit()).await.ok()?,
        None => running.exit().await,
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
