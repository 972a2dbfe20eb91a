//! The port to the pod network.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use cradle_domain::{Failure, PodId};

use super::Act;
use crate::spec::PortMapping;

/// Connects pods: the built-in bridge, or CNI plugins.
///
/// Both acts may be repeated and interrupted at any moment. `detach` succeeds when nothing is left, also for a pod whose
/// namespace is gone, and releases whatever an interrupted `attach` left.
pub trait PodNetwork: Send + Sync + 'static {
    /// Connects a pod; a pod that is connected already keeps its addresses.
    fn attach(&self, attachment: Attachment) -> Act<'_, NetworkAttachment>;

    /// Disconnects a pod.
    fn detach(&self, pod: &PodId) -> Act<'_, ()>;

    /// The pods that hold an address, for recovery.
    fn owners(&self) -> Act<'_, Vec<PodId>>;

    /// Whether pods can be connected now; why not, otherwise (Status, `NetworkReady`).
    fn status(&self) -> Result<(), Failure>;
}

/// A pod to connect.
#[derive(Debug)]
pub struct Attachment {
    pub pod: PodId,
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// A `NETLINK_ROUTE` socket opened inside the pod's network namespace.
    pub netlink: OwnedFd,
    /// The namespace itself.
    pub namespace_fd: OwnedFd,
    /// `/proc/<shim>/ns/net`, for plugins.
    pub namespace_path: PathBuf,
    pub port_mappings: Vec<PortMapping>,
}

/// A connected pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAttachment {
    /// The first is the primary one.
    pub addresses: Vec<IpAddr>,
}
