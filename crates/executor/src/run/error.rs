//! Why a process was not started.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use cradle_domain::{Class, Classified};
use rustix::io::Errno;

use super::failure::StepError;
use crate::cgroup::{AttachError, CreateError, ExecChildError};
use crate::limits::START_DEADLINE;

/// An error of the kernel, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    errno: i32,
}

impl Reason {
    pub fn errno(self) -> i32 {
        self.errno
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(cradle_sys::errno::describe(self.errno))
    }
}

impl Error for Reason {}

impl From<Errno> for Reason {
    fn from(errno: Errno) -> Self {
        Reason { errno: errno.raw_os_error() }
    }
}

/// Why a process was not started. Nothing of it is left, but perhaps its control group.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("making the control group")]
    Cgroup { source: CreateError },
    #[error("making a control group for the exec")]
    ExecCgroup { source: ExecChildError },
    #[error("opening the control group")]
    OpenCgroup { source: AttachError },
    /// Something around the child failed, or a step of it.
    #[error("{doing}")]
    Kernel { doing: String, source: Reason },
    /// A step refused, for a reason that is no system call's.
    #[error("{doing}")]
    Step { doing: String },
    /// There is no such program, or it cannot be executed.
    #[error("{message}")]
    Program { message: String },
    #[error("the process was killed by signal {signal} before its program ran")]
    Killed { signal: i32 },
    #[error("the process ended with code {code} before its program ran")]
    Ended { code: i32 },
    #[error("the start took longer than {} s", START_DEADLINE.as_secs())]
    Deadline,
    #[error("the container has exited")]
    Exited,
    #[error("the plan and the pod disagree about {what}")]
    Mismatch { what: &'static str },
}

impl StartError {
    pub(super) fn kernel(doing: impl Into<String>, errno: Errno) -> Self {
        StartError::Kernel { doing: doing.into(), source: errno.into() }
    }

    pub(super) fn at(doing: &str, path: &Path, errno: Errno) -> Self {
        StartError::kernel(format!("{doing} {}", path.display()), errno)
    }

    /// Something inside the child, or of the same kind, failed.
    pub(super) fn step(doing: &str, StepError { detail, errno }: StepError) -> Self {
        let doing = if detail.is_empty() { doing.to_owned() } else { format!("{doing}: {detail}") };
        match errno {
            0 => StartError::Step { doing },
            number => StartError::kernel(doing, Errno::from_raw_os_error(number)),
        }
    }

    pub(super) fn io(doing: &str, error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(errno) => StartError::kernel(doing, errno),
            None => StartError::Step { doing: format!("{doing}: {error}") },
        }
    }
}

impl Classified for StartError {
    fn class(&self) -> Class {
        match self {
            StartError::Cgroup { source } => source.class(),
            StartError::ExecCgroup { source } => source.class(),
            StartError::OpenCgroup { source } => source.class(),
            StartError::Kernel { source, .. } => class_of(Some(source.errno)),
            StartError::Step { .. } | StartError::Program { .. } => Class::Invalid,
            StartError::Killed { .. } => Class::Exhausted,
            StartError::Ended { .. } | StartError::Mismatch { .. } => Class::Bug,
            StartError::Deadline => Class::Deadline,
            StartError::Exited => Class::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            StartError::Cgroup { source } => source.hint(),
            StartError::Killed { signal: libc::SIGKILL } => {
                Some("is the container's memory limit large enough for its program to be loaded?".into())
            }
            StartError::Deadline => Some("does a volume's file system answer?".into()),
            _ => None,
        }
    }
}

/// How an error of a system call must be dealt with.
pub(crate) fn class_of(errno: Option<i32>) -> Class {
    match errno {
        Some(
            libc::ENOENT
            | libc::ENOTDIR
            | libc::EISDIR
            | libc::ELOOP
            | libc::EINVAL
            | libc::EACCES
            | libc::ENODEV
            | libc::ENOEXEC
            | libc::ENAMETOOLONG
            | libc::E2BIG
            | libc::EROFS,
        ) => Class::Invalid,
        Some(libc::EPERM) => Class::Denied,
        Some(libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::EDQUOT) => {
            Class::Exhausted
        }
        Some(libc::EBUSY) => Class::Busy,
        Some(libc::ENOSYS | libc::EOPNOTSUPP) => Class::Unimplemented,
        _ => Class::Unavailable,
    }
}
