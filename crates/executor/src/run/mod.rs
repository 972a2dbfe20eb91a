//! Performs plans: starts a container's first process and further ones.

use std::os::fd::{BorrowedFd, OwnedFd};

use cradle_domain::{Class, Classified};
use cradle_sys::SingleThreaded;

use crate::cgroup::Cgroup;
use crate::plan::{ContainerPlan, ExecPlan};
use crate::pod::PodNamespaces;

/// What the process gets as its first three descriptors.
#[derive(Debug)]
pub enum Stdio {
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    /// A new terminal of the container's own devpts, of this size. The plan must be one for a terminal.
    Terminal { columns: u16, rows: u16 },
}

/// A process whose execve has succeeded.
#[derive(Debug)]
pub struct Started {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// With [`Stdio::Terminal`].
    pub terminal_master: Option<OwnedFd>,
    /// The control group made for the process: the container's, or the exec's own within it. Whoever reaps the process
    /// removes it.
    pub cgroup: Cgroup,
}

/// A running container, as [`start`] has returned it.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    /// Of its first process.
    pub pidfd: BorrowedFd<'a>,
    pub cgroup: &'a Cgroup,
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

/// Starts one more process in a container, in a control group of its own of this name within the container's.
pub fn exec(
    plan: &ExecPlan,
    container: Container<'_>,
    group: &str,
    stdio: Stdio,
    single: &SingleThreaded,
) -> Result<Started, StartError> {
    let _ = (plan, container, group, stdio, single);
    Err(StartError::Kernel { doing: "exec".into(), source: std::io::ErrorKind::Unsupported.into() })
}
