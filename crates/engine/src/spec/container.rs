//! The specification of a container (CRI `ContainerConfig`).

use std::collections::BTreeMap;

use cradle_domain::Signal;
use serde::{Deserialize, Serialize};

use super::{GroupsPolicy, IdMapping, NamespaceMode, Profile, SelinuxLabel};

/// A container as asked for. Two requests are the same when these are equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub name: String,
    pub attempt: u32,
    pub image: ImageRequest,
    /// Replaces the image's entrypoint.
    pub command: Vec<String>,
    /// Replaces the image's command.
    pub args: Vec<String>,
    pub working_dir: String,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    /// Qualified CDI names.
    pub cdi_devices: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Relative to the pod's log directory; empty: no log.
    pub log_path: String,
    pub stdin: bool,
    pub stdin_once: bool,
    pub terminal: bool,
    pub stop_signal: Option<Signal>,
    pub resources: Resources,
    pub security: ContainerSecurity,
}

/// The image as the request names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRequest {
    /// An image id or a reference, as sent in `image`.
    pub image: String,
    /// What the pod's author wrote.
    pub user_specified: String,
    pub handler: String,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    /// Mounts of the host appear in the container (rslave).
    HostToContainer,
    /// And the other way round (rshared).
    Bidirectional,
}

/// Where a mount's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or folder of the host; symbolic links are followed.
    Host(String),
    /// An image, always read-only, with an optional path inside it.
    Image { image: ImageRequest, sub_path: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub container_path: String,
    pub source: MountSource,
    pub readonly: bool,
    pub recursive_readonly: bool,
    pub selinux_relabel: bool,
    pub propagation: Propagation,
    pub uid_mappings: Vec<IdMapping>,
    pub gid_mappings: Vec<IdMapping>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub container_path: String,
    pub host_path: String,
    /// Any of `r`, `w` and `m`.
    pub permissions: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugepageLimit {
    /// As the kernel spells it: `2MB`, `1GB`.
    pub page_size: String,
    pub limit_bytes: u64,
}

/// Limits on a control group (CRI `LinuxContainerResources`); zero and empty mean "not said".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    pub cpu_period_us: i64,
    pub cpu_quota_us: i64,
    pub cpu_shares: i64,
    pub memory_limit_bytes: i64,
    pub memory_swap_limit_bytes: i64,
    pub oom_score_adj: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Files of cgroup v2, written as they are.
    pub unified: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub add: Vec<String>,
    pub drop: Vec<String>,
    pub add_ambient: Vec<String>,
}

/// The container's security context (CRI `LinuxContainerSecurityContext`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSecurity {
    pub capabilities: Capabilities,
    pub privileged: bool,
    pub pid: NamespaceMode,
    pub selinux: Option<SelinuxLabel>,
    pub run_as_user: Option<i64>,
    /// By name; only without `run_as_user`.
    pub run_as_username: String,
    pub run_as_group: Option<i64>,
    pub supplemental_groups: Vec<i64>,
    pub groups_policy: GroupsPolicy,
    pub readonly_rootfs: bool,
    pub no_new_privs: bool,
    pub seccomp: Profile,
    pub apparmor: Profile,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
}
