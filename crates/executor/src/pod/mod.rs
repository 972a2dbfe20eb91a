//! The namespaces that the containers of a pod share. The shim lives in them itself, so nothing pins them in the file
//! system and they end with it.

use std::os::fd::OwnedFd;

use cradle_domain::{Class, Classified};
use cradle_sys::SingleThreaded;
use serde::{Deserialize, Serialize};

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
    /// Set in the pod's UTS namespace; ignored with the host's.
    pub hostname: String,
    /// Names as sysctl(8) spells them, with dots.
    pub sysctls: Vec<(String, String)>,
    /// Size of the pod's `/dev/shm`; with the host's IPC namespace it is the host's.
    pub shm_size_bytes: u64,
}

/// What a pod's shim holds.
#[derive(Debug)]
pub struct PodNamespaces {
    /// The pod's network namespace, when it has its own.
    pub network: Option<OwnedFd>,
    /// A `NETLINK_ROUTE` socket opened in it.
    pub netlink: Option<OwnedFd>,
}

/// Why the pod's namespaces could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("{doing}")]
    Kernel { doing: String, source: std::io::Error },
}

impl Classified for SetUpError {
    fn class(&self) -> Class {
        Class::Unavailable
    }
}

/// Makes the pod's namespaces and moves the calling process into them.
pub fn set_up(plan: &PodPlan, single: &SingleThreaded) -> Result<PodNamespaces, SetUpError> {
    let _ = (plan, single);
    Err(SetUpError::Kernel { doing: "set-up".into(), source: std::io::ErrorKind::Unsupported.into() })
}
