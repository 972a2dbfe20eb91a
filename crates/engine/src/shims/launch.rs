//! Starting a shim.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cradle_domain::{Class, Classified, PodId};
use cradle_executor::cgroup::{self, Cgroup, Layout};
use cradle_sys::spawn::{Program, spawn};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::mpsc;

use super::Launcher;
use super::link::Link;
use crate::ports::{ShimEvent, ShimLink};

/// When a shim is started, a longer log of the shims is begun anew.
const LOG_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Shims that wait to be accepted: one daemon connects at a time.
const BACKLOG: i32 = 4;
/// The name of the listening socket in a pod's folder.
pub(super) const SOCKET: &str = "shim.sock";
/// Numbers of the descriptors that a shim finds open.
const LISTENER: i32 = 3;
const CONNECTION: i32 = 4;
const LOG: i32 = 5;

/// Shims cannot be started from here.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the shim program {}", path.display())]
    Program { path: PathBuf, source: io::Error },
    #[error("opening the shims' log {}", path.display())]
    Log { path: PathBuf, source: io::Error },
}

impl Classified for OpenError {
    fn class(&self) -> Class {
        Class::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            OpenError::Program { .. } => Some("install cradle-shim beside cradled, or set `shim` to its path".into()),
            OpenError::Log { .. } => None,
        }
    }
}

/// A shim could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    #[error("making the socket {} for the shim", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("starting the shim of pod {pod}")]
    Spawn { pod: PodId, source: io::Error },
    #[error("holding the shim of pod {pod} by a descriptor")]
    Hold { pod: PodId, source: io::Error },
}

impl Classified for LaunchError {
    fn class(&self) -> Class {
        let (LaunchError::Socket { source, .. } | LaunchError::Spawn { source, .. } | LaunchError::Hold { source, .. }) =
            self;
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE) => Class::Exhausted,
            Some(Errno::NFILE | Errno::NOSPC | Errno::NOBUFS) => Class::Exhausted,
            _ => Class::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        (self.class() == Class::Exhausted)
            .then(|| "the machine is out of processes, descriptors, memory or space".into())
    }
}

impl Launcher {
    /// Prepares the start of shims from `program`, for the pods recorded under `state`.
    ///
    /// # Errors
    /// The program is not there, or the log cannot be opened.
    pub fn open(program: &Path, state: &Path, shims_cgroup: String, layout: Layout) -> Result<Self, OpenError> {
        let missing = |source| OpenError::Program { path: program.into(), source };
        let canonical = program.canonicalize().map_err(missing)?;
        let program = CString::new(canonical.as_os_str().as_bytes()).map_err(|error| missing(error.into()))?;
        let pods = state.join("pods");
        let path = state.join("shims.log");
        let open = || {
            let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            bound(&log)?;
            Ok(log)
        };
        let log: File = open().map_err(|source| OpenError::Log { path: path.clone(), source })?;
        let group = Arc::new(ShimsGroup { path: shims_cgroup, layout, changing: Mutex::default() });
        Ok(Launcher { program, pods, log, group })
    }
}

/// Shims that run append to the log's new beginning.
fn bound(log: &File) -> io::Result<()> {
    if log.metadata()?.len() > LOG_MAX_BYTES { log.set_len(0) } else { Ok(()) }
}

/// The control group that all shims share: out of the daemon's own, and in none of a pod's.
pub(super) struct ShimsGroup {
    path: String,
    layout: Layout,
    /// Making it and removing it exclude each other.
    changing: Mutex<()>,
}

impl ShimsGroup {
    /// Moves a shim into it. One that has ended already needs none.
    fn take_in(&self, pid: i32, pidfd: &OwnedFd) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(process) = Pid::from_raw(pid) else { return };
        let moved = cgroup::move_process(process, &self.path, &self.layout);
        let alive = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::CONT).is_ok();
        if let (Err(error), true) = (moved, alive) {
            let error = cradle_domain::failure::Chain(&error);
            tracing::warn!(pid, group = self.path, %error, "a shim stays in the daemon's control group");
        }
    }

    /// Removes it, and the one that it is in, where they are empty.
    pub(super) fn give_back(&self) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        for path in [self.path.as_str(), parent].into_iter().filter(|path| !path.is_empty()) {
            if let Ok(group) = Cgroup::open(path, &self.layout) {
                group.remove_if_empty();
            }
        }
    }
}

/// What a pod's shim has on its command line after its name.
pub(super) fn arguments<'a>(pod: &'a PodId, folder: &'a Path) -> [&'a [u8]; 4] {
    [b"--pod", pod.as_str().as_bytes(), b"--dir", folder.as_os_str().as_bytes()]
}

/// Starts a pod's shim. Its first request is already in its socket when it begins.
pub(super) async fn launch(
    launcher: &Launcher,
    pod: &PodId,
    events: mpsc::Sender<ShimEvent>,
) -> Result<Arc<dyn ShimLink>, LaunchError> {
    if let Err(error) = bound(&launcher.log) {
        tracing::warn!(%error, "the shims' log cannot be begun anew");
    }
    let folder = launcher.folder(pod);
    let socket_error = |source: io::Error| LaunchError::Socket { path: folder.join(SOCKET), source };
    let listener = listen(&folder).map_err(socket_error)?;
    let (ours, theirs) = pair().map_err(socket_error)?;
    let pid = spawn_shim(launcher, pod, &folder, [&listener, &theirs])
        .map_err(|source| LaunchError::Spawn { pod: pod.clone(), source })?;
    // The process is our child and not reaped by anyone else: its id cannot be another's.
    let held = open_pidfd(pid).and_then(|pidfd| Ok((pidfd.try_clone()?, Link::start(ours, pid, pidfd, events)?)));
    let (watched, link) = held.map_err(|source| {
        end_child(pid);
        LaunchError::Hold { pod: pod.clone(), source }
    })?;
    let group = launcher.group.clone();
    // This may wait for a grace period of the kernel: beside the pod's set-up, not before it.
    tokio::task::spawn_blocking(move || group.take_in(pid, &watched));
    Ok(link)
}

/// Ends a shim that nobody holds: it would wait for a daemon for ever. It has done nothing yet and dies at once.
fn end_child(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // An error means that it has ended.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    }
}

fn spawn_shim(launcher: &Launcher, pod: &PodId, folder: &Path, sockets: [&OwnedFd; 2]) -> io::Result<i32> {
    let words = [b"cradle-shim"].into_iter().map(|name| &name[..]).chain(arguments(pod, folder));
    let arguments = words.map(|word| Ok(CString::new(word)?)).collect::<io::Result<Vec<_>>>()?;
    spawn(&Program {
        path: &launcher.program,
        arguments: &arguments,
        environment: &[],
        descriptors: &[(sockets[0].as_fd(), LISTENER), (sockets[1].as_fd(), CONNECTION), (launcher.log.as_fd(), LOG)],
    })
}

pub(super) fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

pub(super) fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// The address of the socket in a folder, however long the folder's path is: a socket's has 108 bytes (unix(7)).
pub(super) fn address(folder: &OwnedFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?)
}

pub(super) fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn listen(folder: &Path) -> io::Result<OwnedFd> {
    let (folder, socket) = (open_folder(folder)?, socket()?);
    match unlinkat(&folder, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    rustix::net::bind(&socket, &address(&folder)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_has_grown_long_is_begun_anew_under_those_who_write_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        for (length, kept) in [(LOG_MAX_BYTES, LOG_MAX_BYTES), (LOG_MAX_BYTES + 1, 0)] {
            log.set_len(length).unwrap();
            bound(&log).unwrap();
            assert_eq!(log.metadata().unwrap().len(), kept);
        }
        io::Write::write_all(&mut &log, b"line\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"line\n");
    }
}
