//! What readers see: immutable snapshots of pods, containers and images. A list is a handful of reference counts; no
//! reader ever waits for a writer.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use cradle_domain::lifecycle::container::ContainerState;
use cradle_domain::lifecycle::pod::PodState;
use cradle_domain::{ContainerId, Digest, PodId, Reference, Signal, Timestamp};
pub use cradle_shim::protocol::Exit;
use serde::{Deserialize, Serialize};

use crate::spec::{ContainerSpec, PodSpec, Resources};

/// One pod at one moment.
#[derive(Debug, Clone)]
pub struct PodView {
    pub id: PodId,
    pub spec: Arc<PodSpec>,
    pub state: PodState,
    pub created_at: Timestamp,
    /// The first is the primary one; empty on the host network.
    pub addresses: Vec<IpAddr>,
    /// The shim's process; none once it is gone.
    pub shim_pid: Option<i32>,
    /// The pod's own control group, relative to the hierarchies' roots.
    pub cgroup: String,
    /// What the repairer still has to undo, in the words of its errors.
    pub leftovers: Vec<String>,
    pub containers: Vec<Arc<ContainerView>>,
}

/// One container at one moment.
#[derive(Debug, Clone)]
pub struct ContainerView {
    pub id: ContainerId,
    pub pod: PodId,
    pub spec: Arc<ContainerSpec>,
    pub image: ContainerImage,
    pub state: ContainerState,
    pub created_at: Timestamp,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub pid: Option<i32>,
    pub exit: Option<Exit>,
    /// One CamelCase word: `Completed`, `Error`, `OOMKilled`, `StartError`, `ShimLost`, `ContainerCannotRun`.
    pub reason: String,
    pub message: String,
    /// As they are now, after updates.
    pub resources: Resources,
    pub stop_signal: Signal,
    /// Absolute path of the log on the host; empty: none.
    pub log_path: String,
    /// Bytes of output lost to a full disk.
    pub log_lost_bytes: u64,
    pub user: ContainerUser,
    pub cgroup: String,
    /// The writable layer, for its usage.
    pub writable_layer: PathBuf,
}

/// Which image a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerImage {
    /// The digest of the image's configuration.
    pub id: Digest,
    /// A name for people: a tag, else a digest reference, else the id.
    pub name: String,
    /// `repository@digest`, where one is known.
    pub digest_reference: String,
}

/// The user that a container's first process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUser {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// From the image's `/etc/passwd`, for `HOME`.
    #[serde(default)]
    pub home: String,
}

/// One image at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageView {
    /// The digest of its configuration.
    pub id: Digest,
    /// References with tags, exactly those pulled.
    pub tags: Vec<Reference>,
    /// `repository@digest` of every manifest (or index) by which it was pulled.
    pub digests: Vec<String>,
    /// Bytes of its layers as unpacked, and of its configuration.
    pub size_bytes: u64,
    pub pinned: bool,
    pub config: Arc<ImageConfig>,
    /// Diff ids of its layers, the base first.
    pub layers: Vec<Digest>,
}

/// What an image says about running it (OCI image-spec, config.md): hostile input, typed and bounded by the reader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    pub user: String,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub volumes: Vec<String>,
    pub stop_signal: Option<Signal>,
    pub labels: std::collections::BTreeMap<String, String>,
    pub architecture: String,
    pub os: String,
    /// RFC 3339, as written in the image; empty: unknown.
    pub created: String,
    pub exposed_ports: Vec<String>,
    pub author: String,
    pub history: Vec<ImageHistory>,
}

/// One line of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageHistory {
    pub created: String,
    pub created_by: String,
    pub comment: String,
    pub empty_layer: bool,
}
