//! The port to the records of pods and containers.

use cradle_domain::lifecycle::container::ContainerState;
use cradle_domain::lifecycle::pod::PodState;
use cradle_domain::{ContainerId, PodId, Signal, Timestamp};
use cradle_shim::protocol::Exit;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use super::Act;
use crate::spec::{ContainerSpec, PodSpec, Resources};
use crate::view::{ContainerImage, ContainerUser, ImageConfig};

/// Intentions, written before the act. Once `save_*` has returned, the record outlives the daemon's death at any moment;
/// a record is replaced as a whole, so that a crash leaves the old or the new one.
pub trait Records: Send + Sync + 'static {
    fn save_pod(&self, record: &PodRecord) -> Act<'_, ()>;
    fn save_container(&self, record: &ContainerRecord) -> Act<'_, ()>;
    /// Writes a file of the pod's own, readable by all users, into its folder; containers bind it, so one that is there
    /// keeps its inode.
    fn put_file(&self, pod: &PodId, name: &'static str, content: Vec<u8>) -> Act<'_, ()>;
    /// Removes a container's record; absent: success.
    fn remove_container(&self, pod: &PodId, container: &ContainerId) -> Act<'_, ()>;
    /// Removes a pod's record and its folder with all that is in it; absent: success. The files may use space until
    /// [`Records::delete_removed`].
    fn remove_pod(&self, pod: &PodId) -> Act<'_, ()>;
    /// Deletes the files of removed pods, those too that an earlier daemon has left. It waits for the disk.
    fn delete_removed(&self);
    /// Reads everything. A damaged record is set aside and named in the answer, never fatal.
    fn load(&self) -> Act<'_, LoadedRecords>;
}

/// What is known of a pod besides its shim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodRecord {
    pub id: PodId,
    pub spec: PodSpec,
    pub state: PodState,
    pub created_at: Timestamp,
    pub addresses: Vec<IpAddr>,
    pub cgroup: String,
}

/// What is known of a container besides its process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: ContainerId,
    pub pod: PodId,
    pub spec: ContainerSpec,
    pub image: ContainerImage,
    /// What the image said about running it when the container was created; the image may be gone by now.
    pub image_config: ImageConfig,
    pub state: ContainerState,
    pub created_at: Timestamp,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub exit: Option<Exit>,
    pub reason: String,
    pub message: String,
    pub resources: Resources,
    pub stop_signal: Signal,
    pub log_path: String,
    pub user: ContainerUser,
    pub cgroup: String,
}

/// All that was recorded.
#[derive(Debug, Default)]
pub struct LoadedRecords {
    pub pods: Vec<PodRecord>,
    pub containers: Vec<ContainerRecord>,
    /// Pods whose folder is there without a readable record: to be taken apart.
    pub orphans: Vec<PodId>,
    /// Records that could not be read: where they were put and why.
    pub damaged: Vec<String>,
    /// The records are of an earlier life of the machine: every process that they tell of is gone.
    pub rebooted: bool,
}
