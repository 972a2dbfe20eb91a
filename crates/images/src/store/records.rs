//! What the database holds, as JSON: readable by people, and open to new fields. A change of what a field means raises
//! [`FORMAT`]. Records of every form that there was are read for ever; `tests/v1` keeps a store of each.

use std::io;
use std::os::fd::AsFd;

use cradle_domain::{Digest, Timestamp};
use rustix::fs::fstat;
use serde::{Deserialize, Deserializer, Serialize};

use crate::manifest::ImageKind;
use crate::tree::{LayerForm, RootDirectory};

/// The version of the store's format.
pub const FORMAT: u64 = 1;

/// A layer that is on disk. Its key is the diff id of one that stands alone, else the chain id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Its folder's name.
    pub number: u64,
    pub diff_id: Digest,
    #[serde(default)]
    pub form: LayerForm,
    /// Whether it is the same on top of any other layers (see `tree`, Dependence).
    pub stands_alone: bool,
    pub bytes: u64,
    pub inodes: u64,
    /// Owner and mode of `/`, where the layer has an entry for it.
    pub root: Option<RootDirectory>,
    pub root_time: RootTime,
    pub committed_at: Timestamp,
}

/// The modification time of a layer's root folder: it changes when someone adds or removes names there, so comparing it
/// notices most of what can happen to a layer at the cost of one stat(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootTime {
    seconds: i64,
    nanos: u64,
}

impl RootTime {
    pub fn of(folder: impl AsFd) -> io::Result<Self> {
        let stat = fstat(folder)?;
        Ok(RootTime { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec })
    }

    pub fn of_stat(stat: &rustix::fs::Stat) -> Self {
        RootTime { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec }
    }
}

/// An image; its key is the digest of its configuration, for an artifact that of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    #[serde(default)]
    pub kind: ImageKind,
    /// The documents that led to it and are kept with it: indexes, its manifest and, last, its configuration, which an
    /// artifact does not have. Records that were first written named the manifest alone.
    #[serde(default, alias = "manifest", deserialize_with = "one_or_many")]
    pub documents: Vec<Digest>,
    /// The base first.
    pub layers: Vec<ImageLayer>,
}

impl ImageRecord {
    /// A record as it was written under `id`, whatever form it had.
    pub fn read(id: &Digest, bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut record: ImageRecord = serde_json::from_slice(bytes)?;
        // Beside the manifest alone, its configuration was kept all the same.
        if record.kind == ImageKind::Image && !record.documents.contains(id) {
            record.documents.push(id.clone());
        }
        Ok(record)
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Digest>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(Digest),
        Many(Vec<Digest>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(digest) => vec![digest],
        OneOrMany::Many(digests) => digests,
    })
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    pub diff_id: Digest,
    pub chain_id: Digest,
    /// The compressed blob.
    pub blob: Digest,
}

/// What a name stands for; its key is `repository:tag` or `repository@digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceRecord {
    pub image: Digest,
    /// It was pulled without credentials of a request, so anyone may have it.
    pub anonymous: bool,
}
