//! The specification of a pod sandbox (CRI `PodSandboxConfig`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use cradle_domain::ContainerId;
use serde::{Deserialize, Serialize};

use super::Resources;

/// A pod sandbox as asked for. Two requests are the same when these are equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodSpec {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub attempt: u32,
    /// Empty: the node's host name (host network) or none.
    pub hostname: String,
    /// Folder of the containers' logs on the host, absolute or empty.
    pub log_directory: String,
    pub dns: Dns,
    pub port_mappings: Vec<PortMapping>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Empty: the default handler.
    pub handler: String,
    /// The pod's control group, as the kubelet spells it for its driver; empty: one of our own.
    pub cgroup_parent: String,
    pub sysctls: BTreeMap<String, String>,
    pub namespaces: PodNamespaceModes,
    pub privileged: bool,
    pub readonly_rootfs: bool,
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub supplemental_groups: Vec<i64>,
    pub groups_policy: GroupsPolicy,
    pub selinux: Option<SelinuxLabel>,
    pub seccomp: Profile,
    pub apparmor: Profile,
    /// Sum of the containers' resources and the pod's overhead, as far as the kubelet told them.
    pub resources: Option<Resources>,
    pub overhead: Option<Resources>,
}

/// Name resolution inside the pod; all empty: the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// A port of the host that leads to a port of the pod. A host port of 0 is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub protocol: Protocol,
    pub container_port: u16,
    pub host_port: u16,
    pub host_ip: Option<IpAddr>,
}

/// Whose namespace something lives in (CRI `NamespaceMode`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// One for the whole pod.
    Pod,
    /// One for each container.
    Container,
    /// The host's.
    Node,
    /// Another container's.
    Target(ContainerId),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNamespaceModes {
    pub network: NamespaceMode,
    pub pid: NamespaceMode,
    pub ipc: NamespaceMode,
    /// None: the host's user namespace.
    pub user: Option<UserNamespace>,
}

/// A user namespace of the pod's own; the same mapping for users and groups is usual, but not required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    pub uids: Vec<IdMapping>,
    pub gids: Vec<IdMapping>,
}

impl UserNamespace {
    /// The user of the host that is `uid` inside.
    pub fn host_uid(&self, uid: u32) -> Option<u32> {
        host_id(&self.uids, uid)
    }

    /// The group of the host that is `gid` inside.
    pub fn host_gid(&self, gid: u32) -> Option<u32> {
        host_id(&self.gids, gid)
    }
}

fn host_id(mappings: &[IdMapping], id: u32) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let offset = id.checked_sub(mapping.container_id).filter(|offset| *offset < mapping.length)?;
        mapping.host_id.checked_add(offset)
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    pub host_id: u32,
    pub container_id: u32,
    pub length: u32,
}

/// How the request's supplementary groups meet those of the image (CRI `SupplementalGroupsPolicy`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupsPolicy {
    /// Those of the request and those of the image's `/etc/group`.
    #[default]
    Merge,
    /// Those of the request alone.
    Strict,
}

/// A seccomp or AppArmor profile (CRI `SecurityProfile`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// Nothing was said.
    #[default]
    Unset,
    Unconfined,
    RuntimeDefault,
    /// A file of seccomp (absolute path) or a loaded profile of AppArmor (name).
    Localhost(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxLabel {
    pub user: String,
    pub role: String,
    pub kind: String,
    pub level: String,
}
