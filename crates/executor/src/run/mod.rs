//! Performs plans: starts a container's first process and further ones.

use std::os::fd::{BorrowedFd, OwnedFd};

use cradle_domain::{Class, Classified};
use cradle_sys::SingleThreaded;

use crate::plan::{ContainerPlan, ExecPlan};
use crate::pod::PodNamespaces;

/// What the process gets as its first three descriptors.
#[derive(Debug)]
pub enum Stdio {
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    /// A new terminal of the container's own devpts, of this size.
    Terminal { columns: u16, rows: u16 },
}

/// A process whose execve has succeeded.
#[derive(Debug)]
pub struct Started {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// With [`Stdio::Terminal`].
    pub terminal_master: Option<OwnedFd>,
}

/// Why a process was not started; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{doing}")]
    Kernel { doing: String, source: std::io::Error },
}

impl Classified for StartError {
    fn class(&self) -> Class {
        Class::Unavailable
    }
}

/// Starts a container. Returns when its program runs, or with what failed.
pub fn start(
    plan: &ContainerPlan,
    pod: &PodNamespaces,
    stdio: Stdio,
    single: &SingleThreaded,
) -> Result<Started, StartError> {
    let _ = (plan, pod, stdio, single);
    Err(StartError::Kernel { doing: "start".into(), source: std::io::ErrorKind::Unsupported.into() })
}

/// Starts one more process in the container whose first process is `container`, a pidfd.
pub fn exec(
    plan: &ExecPlan,
    container: BorrowedFd<'_>,
    stdio: Stdio,
    single: &SingleThreaded,
) -> Result<Started, StartError> {
    let _ = (plan, container, stdio, single);
    Err(StartError::Kernel { doing: "exec".into(), source: std::io::ErrorKind::Unsupported.into() })
}
