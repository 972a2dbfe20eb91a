//! The steps of a plan, as data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which namespace of a kind a container's process lives in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// The one that the host's processes share.
    #[default]
    Host,
    /// A new one.
    New,
    /// The one that the containers of the pod share.
    Pod,
    /// Another process's: a file such as `/proc/123/ns/net`.
    Path(PathBuf),
}

/// One namespace of each kind. The mount namespace is always a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    pub pid: Namespace,
    pub network: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroup: Namespace,
    pub user: Namespace,
    pub time: Namespace,
}

/// Capabilities as a set of bits, bit `n` for capability number `n` (linux/capability.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySet(pub u64);

/// One thing that the child does on its way to execve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    SetHostname(String),
}
