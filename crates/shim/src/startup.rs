//! What a shim does before its event loop: its arguments, the descriptors that it was given, and its place among the
//! processes.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cradle_domain::PodId;
use cradle_domain::failure::Chain;
use cradle_executor::run::probe::{Layers, user_namespaces};
use cradle_sys::SingleThreaded;
use cradle_sys::signals::ChildSignals;
use cradle_sys::writes::WriteSignals;
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::journal::{Journal, Level};
use crate::limits::WRITES_PENDING_MAX;
use crate::shim::Parts;

/// The descriptors that a shim is started with.
pub const LISTENER_FD: u32 = 3;
pub const CONNECTION_FD: u32 = 4;
pub const LOG_FD: u32 = 5;

/// Among the last that the kernel kills for lack of memory, as its death would take the pod along.
const OOM_SCORE_ADJUSTMENT: &[u8] = b"-998";

/// What stands on the command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Arguments {
    Keep(Pod),
    /// Try how pods with images in this folder can have user namespaces, and end.
    Probe(PathBuf),
}

/// The pod to keep.
#[derive(Debug, PartialEq, Eq)]
pub struct Pod {
    pub id: PodId,
    pub directory: PathBuf,
}

/// What [`probe`] says of a machine where pods can have user namespaces: that the owners of images are mapped, or that they
/// cannot be, and why. Otherwise it says why pods cannot have them.
pub const MAPPED: &str = "idmap";
pub const COPIED: &str = "copy: ";

/// Why a shim does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    #[error("usage: cradle-shim --pod POD-ID --dir FOLDER | --probe FOLDER (started by cradled, not by hand): {0}")]
    Usage(String),
    #[error("{doing}")]
    Kernel { doing: &'static str, source: io::Error },
}

impl Arguments {
    /// Reads the command line, without the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, StartupError> {
        let (mut id, mut directory, mut probed) = (None, None, None);
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next();
            match (name.to_str(), value) {
                (Some("--pod"), Some(value)) => {
                    let text = value.to_string_lossy();
                    id = Some(PodId::parse(&text).map_err(|error| StartupError::Usage(error.to_string()))?);
                }
                (Some("--dir"), Some(value)) => directory = Some(PathBuf::from(value)),
                (Some("--probe"), Some(value)) => probed = Some(PathBuf::from(value)),
                _ => return Err(StartupError::Usage(format!("unexpected {name:?}"))),
            }
        }
        match (id, directory, probed) {
            (Some(id), Some(directory), None) => Ok(Arguments::Keep(Pod { id, directory })),
            (None, None, Some(folder)) => Ok(Arguments::Probe(folder)),
            (_, _, Some(_)) => Err(StartupError::Usage("--probe stands alone".into())),
            (None, ..) => Err(StartupError::Usage("--pod is missing".into())),
            (_, None, _) => Err(StartupError::Usage("--dir is missing".into())),
        }
    }
}

/// Tries how pods can have user namespaces: [`MAPPED`], [`COPIED`] and why, or why they cannot.
pub fn probe(store: &Path) -> Result<String, StartupError> {
    let counted = SingleThreaded::check();
    let single = counted.map_err(|errno| StartupError::Kernel { doing: "counting threads", source: errno.into() })?;
    Ok(match user_namespaces(store, &single) {
        Ok(Layers::Mapped) => MAPPED.to_owned(),
        Ok(Layers::Copied(why)) => format!("{COPIED}{}", Chain(&why)),
        Err(error) => Chain(&error).to_string(),
    })
}

/// Makes this process a shim.
pub fn prepare(pod: Pod) -> Result<Parts, StartupError> {
    let failed = |doing| move |source| StartupError::Kernel { doing, source };
    let errno = |doing| move |errno: rustix::io::Errno| StartupError::Kernel { doing, source: errno.into() };
    cradle_sys::heap::keep_small();
    let children = ChildSignals::block_all_and_open().map_err(failed("blocking signals"))?;
    let writes = WriteSignals::open().map_err(failed("opening a descriptor for signals"))?;
    let listener =
        cradle_sys::inherited::take(LISTENER_FD).map_err(failed("taking the listening socket, descriptor 3"))?;
    let connection =
        cradle_sys::inherited::take(CONNECTION_FD).map_err(failed("taking the connection, descriptor 4"))?;
    let log = cradle_sys::inherited::take(LOG_FD).map_err(failed("taking the log, descriptor 5"))?;
    for socket in [&listener, &connection] {
        rustix::io::ioctl_fionbio(socket, true).map_err(errno("making a socket non-blocking"))?;
    }
    let journal = Journal::new(log, pod.id.clone());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(&pod.directory, flags, Mode::empty()).map_err(errno("opening the shim's folder"))?;
    take_place(&journal).map_err(errno("taking its place among the processes"))?;
    let single = SingleThreaded::check().map_err(errno("counting threads"))?;
    Ok(Parts { pod: pod.id, directory, listener, connection, children, writes, journal, single })
}

/// Subreaper of the pod, out of reach of tracers and, where that is granted, of the kernel's killer; in no folder's way.
fn take_place(journal: &Journal) -> Result<(), rustix::io::Errno> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_name(c"cradle-shim")?;
    if let Err(errno) = cradle_sys::scheduling::prefer_short_slices() {
        journal.write(Level::Warn, "", &format!("the shim waits for its turn as any other process: {errno}"));
    }
    let limit = rustix::process::getrlimit(Resource::Sigpending);
    let most = WRITES_PENDING_MAX as u64;
    let current = Some(limit.current.map_or(most, |current| current.min(most)));
    // What it starts gets the hard limit.
    rustix::process::setrlimit(Resource::Sigpending, Rlimit { current, ..limit })?;
    rustix::process::chdir("/")?;
    // No descriptor that the starter forgot must keep anything of its open.
    cradle_sys::process::close_on_exec_from(LISTENER_FD)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let lowered = rustix::fs::open("/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file: OwnedFd| rustix::io::write(&file, OOM_SCORE_ADJUSTMENT));
    if let Err(errno) = lowered
        && errno != rustix::io::Errno::ACCESS
        && errno != rustix::io::Errno::PERM
    {
        journal.write(Level::Warn, "", &format!("the score against being killed for lack of memory stays: {errno}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, StartupError> {
        Arguments::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_pod_needs_both_arguments_and_nothing_else_is_taken() {
        let pod = PodId::from_random([3; 32]);
        let good = parse(&["--pod", pod.as_str(), "--dir", "/run/x"]).unwrap();
        assert_eq!(good, Arguments::Keep(Pod { id: pod.clone(), directory: "/run/x".into() }));
        assert_eq!(parse(&["--probe", "/var/x"]).unwrap(), Arguments::Probe("/var/x".into()));
        for bad in [
            &[] as &[&str],
            &["--pod", pod.as_str()],
            &["--dir", "/run/x"],
            &["--pod", "short", "--dir", "/run/x"],
            &["--pod", pod.as_str(), "--dir"],
            &["--pod", pod.as_str(), "--dir", "/run/x", "--more", "1"],
            &["--probe"],
            &["--probe", "/var/x", "--dir", "/run/x"],
        ] {
            assert!(matches!(parse(bad), Err(StartupError::Usage(_))), "{bad:?}");
        }
    }
}
