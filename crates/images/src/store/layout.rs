//! Where things are beneath the store's root:
//!
//! ```text
//! store.redb            what there is: layers, images, references
//! layers/NUMBER/        the files of one layer; a folder that no record names is unfinished or garbage
//! layers/0/             an empty layer, for images without any
//! containers/ID/        one container's fs/ and work/, and what it was lent
//! blobs/HEX             compressed layers, where they are kept
//! trash/                being removed
//! ```
//!
//! Layers have short names since overlayfs is given all of an image's in one option string of a page (128 layers must
//! fit). Numbers instead of digests: an attacker could make the first digits of two digests equal.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use cradle_domain::{ContainerId, Digest};

/// The store's places.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// The digest of the blob whose file has this name; none: it is no whole blob.
pub fn digest_of_blob(name: &OsStr) -> Option<Digest> {
    Digest::parse(&format!("sha256:{}", name.to_str()?)).ok()
}

/// The layer without files.
pub const EMPTY_LAYER: u64 = 0;

impl Layout {
    pub fn new(root: PathBuf) -> Self {
        Layout { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("store.redb")
    }

    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub fn layer(&self, number: u64) -> PathBuf {
        self.layers().join(number.to_string())
    }

    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }
}
