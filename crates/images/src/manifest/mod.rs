//! From the bytes a registry calls a manifest to what is to be fetched (OCI image-spec: image-index.md, manifest.md,
//! config.md; Docker's Image Manifest V2, Schema 2). Hostile input: bounded, typed, and refused when it could be read in
//! two ways (CVE-2021-41190).
//!
//! It does no I/O; `store::pull` fetches what it asks for.

mod artifact;
mod config;
mod document;
mod media_type;
mod platform;
#[cfg(test)]
mod tests;

use cradle_domain::Digest;
use serde::{Deserialize, Serialize};

pub use config::{ConfigError, parse_config};
pub use document::{Document, DocumentError, choose, parse_document};
pub use media_type::{Compression, LayerFormat, OCI_INDEX, OCI_MANIFEST};
pub use platform::Platform;

/// A blob or manifest that a document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
}

/// An image's or an artifact's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub kind: ImageKind,
    pub config: Descriptor,
    /// The base first.
    pub layers: Vec<LayerDescriptor>,
}

/// What a manifest is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageKind {
    /// A container image: its configuration says how to run it.
    #[default]
    Image,
    /// Files, to be mounted into containers. Its id is its manifest's digest: its configuration says nothing.
    Artifact,
}

/// A layer's blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerDescriptor {
    pub digest: Digest,
    pub size: u64,
    pub format: LayerFormat,
    pub content: LayerContent,
}

/// What a layer's blob brings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerContent {
    /// An archive whose digest the image's configuration promises.
    #[default]
    Layer,
    /// An archive of an artifact, of which nothing but the blob's digest is promised.
    Archive,
    /// A file of an artifact, by its path.
    File(String),
}
