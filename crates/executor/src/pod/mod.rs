//! The namespaces that the containers of a pod share.
//!
//! The shim enters the pod's network, IPC and UTS namespaces itself and stays in them: its children are born there, no
//! pause process is needed, nothing pins a namespace in the file system, and all of them end with the shim. A shared PID
//! namespace needs a first process, which is a small init (`init.rs`); `/dev/shm` is a tmpfs without a place in any mount
//! table but the containers' own (`shm.rs`).
//!
//! A user namespace of the pod's own is not entered by the shim, which keeps it by descriptor; the other namespaces of
//! such a pod belong to it.

mod init;
mod set_up;
pub(crate) mod shm;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

pub use self::set_up::{SetUpError, set_up};

use self::init::PodInit;
use self::shm::SharedMemory;
use crate::plan::IdMapping;

/// Whether the pod has a namespace of its own or lives in the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    #[default]
    New,
    Host,
}

/// Whose PID namespace the pod's containers see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidShare {
    /// Each container has its own.
    #[default]
    Container,
    /// One for the pod; a small init in it reaps.
    Pod,
    Host,
}

/// What the containers of a pod share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    pub network: Share,
    pub ipc: Share,
    pub uts: Share,
    pub pid: PidShare,
    /// Set in the pod's UTS namespace; empty, or with the host's: left as it is.
    pub hostname: String,
    /// Names as sysctl(8) spells them; only those of a namespace of the pod's own.
    pub sysctls: Vec<(String, String)>,
    /// Size of the pod's `/dev/shm`; with the host's IPC namespace it is the host's.
    pub shm_size_bytes: u64,
    /// A user namespace of the pod's own, with this mapping; its other namespaces belong to it. None: the host's.
    pub user: Option<IdMapping>,
}

/// What a pod's shim holds.
#[derive(Debug)]
pub struct PodNamespaces {
    /// The pod's network namespace, when it has its own.
    pub network: Option<OwnedFd>,
    /// A `NETLINK_ROUTE` socket opened in it.
    pub netlink: Option<OwnedFd>,
    /// What was made; says which namespaces a container gets by being the shim's child.
    pub(crate) plan: PodPlan,
    pub(crate) shm: SharedMemory,
    init: Option<PodInit>,
    user: Option<OwnedFd>,
}

impl PodNamespaces {
    /// The first process of the pod's PID namespace, as a pidfd.
    pub(crate) fn init(&self) -> Option<BorrowedFd<'_>> {
        self.init.as_ref().map(AsFd::as_fd)
    }

    /// The pod's user namespace, with its mapping.
    pub(crate) fn user_namespace(&self) -> Option<(&IdMapping, BorrowedFd<'_>)> {
        Some((self.plan.user.as_ref()?, self.user.as_ref()?.as_fd()))
    }
}
