//! Connecting to a shim that an earlier daemon has started. One that does not answer is found by its command line and
//! killed: whoever waits for it would wait for ever, and nobody else knows of it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use cradle_domain::{Class, Classified, PodId};
use cradle_shim::protocol::{Greeting, Reply, Request, VERSION};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::mpsc;

use super::Launcher;
use super::launch::{address, arguments, open_folder, open_pidfd, socket};
use super::link::Link;
use crate::limits;
use crate::ports::{Found, ShimEvent, ShimLink};

/// Whether a pod has a shim is not known, or it has one that is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("connecting to the shim of pod {pod}")]
    Connect { pod: PodId, source: io::Error },
    #[error("looking for the process of the silent shim of pod {pod}")]
    Find { pod: PodId, source: io::Error },
    #[error("the silent shim of pod {pod} (process {pid}) cannot be killed")]
    Kill { pod: PodId, pid: i32 },
}

impl Classified for ConnectError {
    fn class(&self) -> Class {
        match self {
            ConnectError::Connect { .. } | ConnectError::Find { .. } => Class::Unavailable,
            ConnectError::Kill { .. } => Class::Busy,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ConnectError::Connect { .. } | ConnectError::Find { .. } => None,
            ConnectError::Kill { pid, .. } => Some(format!("it hangs in the kernel: see /proc/{pid}/stack")),
        }
    }
}

/// Why a shim that listens is of no use.
#[derive(Debug, thiserror::Error)]
enum Silent {
    #[error("its queue of connections is full")]
    Queue,
    #[error("it did not say hello: {0}")]
    Hello(cradle_domain::Failure),
    #[error("its hello is of another kind, or of pod {0:?}")]
    Other(Option<PodId>),
    #[error("its connection or its process ended")]
    Ended,
}

/// Connects to the shim of a pod; none: nobody listens on its socket, or nobody does any more.
pub(super) async fn connect(
    launcher: &Launcher,
    pod: &PodId,
    events: mpsc::Sender<ShimEvent>,
) -> Result<Option<Found>, ConnectError> {
    let folder = launcher.folder(pod);
    let failed = |source: io::Error| ConnectError::Connect { pod: pod.clone(), source };
    let silent = match dial(&folder) {
        Ok(socket) => {
            let link = Link::start_unknown(socket, events).map_err(failed)?;
            match greet(&link, pod).await {
                Ok(greeting) => return Ok(Some(Found { link, greeting })),
                Err(silent) => silent,
            }
        }
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
            io::ErrorKind::WouldBlock => Silent::Queue,
            _ => return Err(failed(error)),
        },
    };
    tracing::error!(%pod, why = %silent, "a shim that was there already does not answer and is killed");
    let found = find(pod, &folder).map_err(|source| ConnectError::Find { pod: pod.clone(), source })?;
    let Some((pid, pidfd)) = found else { return Ok(None) };
    end(pidfd).await.map_err(|_| ConnectError::Kill { pod: pod.clone(), pid })?;
    Ok(None)
}

fn dial(folder: &Path) -> io::Result<OwnedFd> {
    let (folder, socket) = (open_folder(folder)?, socket()?);
    rustix::net::connect(&socket, &address(&folder)?)?;
    Ok(socket)
}

/// Asks who is there. It is asked twice: whoever answers after a descriptor of its process was opened was alive then, so
/// that its id was not yet another's.
async fn greet(link: &Arc<Link>, pod: &PodId) -> Result<Greeting, Silent> {
    let pid = hello(link, pod).await?.pid;
    let pidfd = open_pidfd(pid).map_err(|_| Silent::Ended)?;
    let greeting = hello(link, pod).await?;
    let held = greeting.pid == pid && link.identify(pid, pidfd).is_ok();
    // A connection that ended before it knew its process has not killed it.
    if held && !link.is_lost() { Ok(greeting) } else { Err(Silent::Ended) }
}

async fn hello(link: &Link, pod: &PodId) -> Result<Greeting, Silent> {
    let hello = Request::Hello { version: VERSION };
    match link.call_within(limits::SHIM_HELLO, "-", hello, Vec::new()).await.map_err(Silent::Hello)?.0 {
        Reply::Greeting(greeting) if greeting.pod == *pod => Ok(*greeting),
        Reply::Greeting(greeting) => Err(Silent::Other(Some(greeting.pod))),
        _ => Err(Silent::Other(None)),
    }
}

/// Kills a process and waits for its end.
async fn end(pidfd: OwnedFd) -> io::Result<()> {
    // An error means that it is dead.
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    let watched = super::watched(pidfd)?;
    let _ended = tokio::time::timeout(limits::SHIM_KILL, watched.readable()).await??;
    Ok(())
}

/// The process that was started as this pod's shim. Children of it that are on the way to their program look like it.
fn find(pod: &PodId, folder: &Path) -> io::Result<Option<(i32, OwnedFd)>> {
    let arguments = arguments(pod, folder);
    let mut alike = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if is_started_with(pid, &arguments) {
            alike.push(pid);
        }
    }
    let Some(pid) = alike.iter().copied().find(|pid| !parent(*pid).is_some_and(|parent| alike.contains(&parent)))
    else {
        return Ok(None);
    };
    let pidfd = match open_pidfd(pid) {
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(None),
        opened => opened?,
    };
    // Once more, now that the process is held; if it lives after that, what was read was its own.
    let is_it = is_started_with(pid, &arguments) && process_of(&pidfd) == Some(pid);
    Ok(is_it.then_some((pid, pidfd)))
}

fn is_started_with(pid: i32, arguments: &[&[u8]]) -> bool {
    // A process that ended meanwhile has no command line.
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0).collect();
    words.ends_with(arguments)
}

fn parent(pid: i32) -> Option<i32> {
    number_after("PPid:", &format!("/proc/{pid}/status"))
}

/// The process that a descriptor holds, as /proc counts; none: it is dead.
fn process_of(pidfd: &OwnedFd) -> Option<i32> {
    number_after("Pid:", &format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).filter(|pid| *pid > 0)
}

fn number_after(field: &str, path: &str) -> Option<i32> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use cradle_sys::spawn::{Program, spawn};
    use rustix::pipe::{PipeFlags, pipe_with};
    use rustix::process::{Pid, WaitOptions, waitpid};

    use super::*;

    /// A process with these arguments that goes on until it is killed, or the descriptor is closed.
    fn process_with(arguments: &[&[u8]]) -> (i32, OwnedFd) {
        let words = [&b"sh"[..], b"-c", b"read never", b"anything"].into_iter().chain(arguments.iter().copied());
        let arguments: Vec<_> = words.map(|word| CString::new(word).unwrap()).collect();
        let (stdin, kept) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let program =
            Program { path: c"/bin/sh", arguments: &arguments, environment: &[], descriptors: &[(stdin.as_fd(), 0)] };
        let pid = spawn(&program).unwrap();
        // The kernel lets the parent go on before the new program has its arguments.
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::read(format!("/proc/{pid}/cmdline")).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "it gets no arguments");
            std::thread::yield_now();
        }
        (pid, kept)
    }

    #[tokio::test]
    async fn a_silent_shim_is_found_by_its_pod_and_folder_and_killed() {
        let folder = Path::new("/run/a-folder/pods/x");
        let (pod, other) = (PodId::from_random([4; 32]), PodId::from_random([5; 32]));
        let (shim, _open) = process_with(&arguments(&pod, folder));
        let (beside, _open_too) = process_with(&arguments(&other, folder));
        let (pid, pidfd) = find(&pod, folder).unwrap().unwrap();
        assert_eq!(pid, shim);
        assert!(find(&pod, Path::new("/run/another")).unwrap().is_none());
        end(pidfd).await.unwrap();
        assert!(find(&pod, folder).unwrap().is_none(), "it is dead");
        let (_, pidfd) = find(&other, folder).unwrap().unwrap();
        end(pidfd).await.unwrap();
        for pid in [shim, beside] {
            waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap();
        }
    }
}
