//! The port to the image store.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cradle_domain::{Class, ContainerId, Digest, Reference, Timestamp};
use cradle_executor::plan::ImageOwners;
use serde::Serialize;

use super::Act;
use crate::spec::UserNamespace;
use crate::view::ImageView;

/// Images: pulled, listed, removed, and unpacked as root file systems.
///
/// `find` and `list` answer from memory and never wait. Every act may be repeated; a repeated one joins the first.
pub trait Images: Send + Sync + 'static {
    /// The image with this id (with or without `sha256:`), tag or digest reference.
    fn find(&self, image: &str) -> Option<Arc<ImageView>>;

    /// All images that would survive a power cut, in no particular order.
    fn list(&self) -> Vec<Arc<ImageView>>;

    /// Fetches an image, durably; answers with it once it is listed. Dropping the future gives up this asker's interest.
    fn pull(&self, request: PullRequest) -> Act<'_, Arc<ImageView>>;

    /// Whom `pull` would ask for an image, in which order, and why, in words and without secrets. Asks nobody.
    fn explain<'a>(&'a self, reference: &'a Reference, credentials: Option<&'a Credentials>) -> Act<'a, String>;

    /// Takes in the images of an archive, one after the other: an OCI image layout or what `docker save` writes, as a tar
    /// archive that may be compressed. Dropping the future gives up what is not listed yet.
    fn load(&self, archive: Box<dyn ByteStream>) -> Act<'_, Vec<LoadedImage>>;

    /// Images by names or ids as one archive, in both forms that [`Images::load`] knows. An archive that ends without an
    /// error is whole.
    fn save(&self, images: Vec<String>) -> Act<'_, Box<dyn ByteStream>>;

    /// What an image is made of; absent: none.
    fn describe(&self, image: &str) -> Act<'_, Option<ImageDetails>>;

    /// For each image, the bytes of its layers that other images have as well. Never waits.
    fn shared_bytes(&self) -> Vec<(Digest, u64)>;

    /// What it has done since the daemon began, and how it works here. Never waits.
    fn status(&self) -> ImagesStatus;

    /// Removes an image with all its tags, whichever of its names is given; absent: success. It is gone from lists when
    /// this returns; layers in use stay until they are not.
    fn remove(&self, image: &str) -> Act<'_, ()>;

    /// Makes the root file system of a container: the image's layers and a writable layer of the container's own, or a copy
    /// of the image. In a user namespace, the owner of `/` is the user of the host that the image's owner is mapped to, and
    /// in a copy that is made for it each owner is.
    fn prepare(&self, container: &ContainerId, image: &Digest, user: Option<&UserNamespace>)
    -> Act<'_, RootFilesystem>;

    /// A file of an image as its containers will see it, of at most `max_bytes`; absent: none. For `/etc/passwd` and
    /// `/etc/group`.
    fn read_file(&self, image: &Digest, path: &str, max_bytes: u64) -> Act<'_, Option<Vec<u8>>>;

    /// The layers of an image, the top one first, for a read-only mount, or a copy in their place; they stay until `owner`
    /// is discarded. Their owners are those of its root file system.
    fn lend(&self, owner: &ContainerId, image: &Digest, user: Option<&UserNamespace>) -> Act<'_, Vec<PathBuf>>;

    /// Removes a container's writable layer and gives back what it was lent; absent: success.
    fn discard(&self, container: &ContainerId) -> Act<'_, ()>;

    /// Where a container's writable layer is, or would be. Never waits.
    fn writable_path(&self, container: &ContainerId) -> PathBuf;

    /// The containers that have a writable layer.
    fn owners(&self) -> Act<'_, Vec<ContainerId>>;

    /// Bytes and inodes of a container's writable layer; none without one.
    fn writable_usage(&self, container: &ContainerId) -> Act<'_, Option<ImageUsage>>;

    /// Usage of the file systems of images and of writable layers.
    fn usage(&self) -> Act<'_, FilesystemUsage>;
}

/// A wish for an image.
#[derive(Clone)]
pub struct PullRequest {
    pub reference: Reference,
    pub credentials: Option<Credentials>,
    /// Told of each layer's progress; may be called from any thread and must not block.
    pub progress: Option<ProgressSink>,
}

/// The image store, for those who watch the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImagesStatus {
    pub pulls: PullCounters,
    /// `overlay`; or `copy: ` and why no overlays can be mounted.
    pub root_filesystems: String,
    /// What becomes of them in user namespaces: a [`UserNamespaceSupport`].
    pub user_namespaces: String,
}

/// What this machine can do for pods with a user namespace of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserNamespaceSupport {
    /// The kernel maps the owners of images as their layers are mounted.
    Mapped,
    /// It cannot; each container gets a copy of its image, with owners that are mapped.
    Copied {
        why: String,
    },
    Impossible {
        why: String,
    },
}

impl fmt::Display for UserNamespaceSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserNamespaceSupport::Mapped => f.write_str("idmap"),
            UserNamespaceSupport::Copied { why } => write!(f, "copy: {why}"),
            UserNamespaceSupport::Impossible { why } => write!(f, "none: {why}"),
        }
    }
}

/// What pulls have done. Askers of the same image at the same time are one pull.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PullCounters {
    pub under_way: u64,
    pub done: u64,
    /// By the class of what went wrong.
    pub failed: HashMap<Class, u64>,
    /// Their last asker left.
    pub given_up: u64,
    /// Of configurations and layers, as they came from registries.
    pub fetched_bytes: u64,
    /// Layers of images that were pulled or loaded, and were not here yet; and those that were.
    pub layers_fetched: u64,
    pub layers_present: u64,
    /// What those that are done took.
    #[serde(skip)]
    pub durations: Durations,
}

/// How many acts took how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    /// Those of at most each of [`Durations::BOUNDS`] and more than the one before; at last those of more than all.
    pub counts: [u64; Durations::BOUNDS.len() + 1],
    pub sum: Duration,
}

impl Durations {
    pub const BOUNDS: [Duration; 12] = [
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2500),
        Duration::from_secs(5),
        Duration::from_secs(10),
        Duration::from_secs(25),
        Duration::from_secs(50),
        Duration::from_secs(100),
        Duration::from_secs(250),
        Duration::from_secs(500),
    ];

    pub fn add(&mut self, took: Duration) {
        let at = Durations::BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(Durations::BOUNDS.len());
        self.counts[at] += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

/// Bytes in pieces, as they come or are wanted.
pub trait ByteStream: Send {
    /// The next bytes; none at the end.
    fn next(&mut self) -> Act<'_, Option<Vec<u8>>>;
}

/// An image that was taken in from an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    pub id: Digest,
    /// Those that the archive gives it, with tags.
    pub names: Vec<Reference>,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetails {
    pub view: Arc<ImageView>,
    pub manifest: Digest,
    pub manifest_media_type: String,
    /// Its configuration as it came: JSON.
    pub config: Vec<u8>,
    /// The base first.
    pub layers: Vec<LayerDetails>,
    /// Bytes of its layers that other images have as well.
    pub shared_bytes: u64,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDetails {
    /// Of the blob in the registry.
    pub digest: Digest,
    pub compressed_bytes: u64,
    pub diff_id: Digest,
    /// What it takes on disk.
    pub unpacked_bytes: u64,
    /// Whether its blob is here as well.
    pub is_blob_kept: bool,
}

/// Receives progress.
pub type ProgressSink = Arc<dyn Fn(LayerProgress) + Send + Sync>;

/// How far one layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    pub layer: Digest,
    pub state: LayerState,
    pub done_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    Waiting,
    /// Fetched and unpacked at the same time.
    Fetching,
    Present,
    Done,
}

/// Credentials for a registry (CRI `AuthConfig`).
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// Base64 of `username:password`.
    pub auth: String,
    pub server_address: String,
    pub identity_token: String,
    pub registry_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(of {:?}, secrets not shown)", self.username)
    }
}

/// The layers of a container's root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFilesystem {
    /// The image's layers, the top one first; none of a copy.
    pub lower: Vec<PathBuf>,
    /// The container's own layer; without lower ones it has all of the image.
    pub upper: PathBuf,
    pub work: PathBuf,
    pub owners: ImageOwners,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageUsage {
    pub bytes: u64,
    pub inodes: u64,
}

/// What the store takes (CRI `ImageFsInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesystemUsage {
    pub at: Timestamp,
    pub images_path: PathBuf,
    pub images: ImageUsage,
    pub containers_path: PathBuf,
    pub containers: ImageUsage,
}
