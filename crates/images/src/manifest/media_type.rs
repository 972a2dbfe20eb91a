//! Media types: which there are, and what the ones we cannot run are called.

use serde::{Deserialize, Serialize};

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const DOCKER_SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What a document is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentType {
    Index,
    Manifest,
    Schema1,
}

/// The document of this media type, if it is one of ours.
pub fn document_type(media_type: &str) -> Option<DocumentType> {
    match media_type {
        OCI_INDEX | DOCKER_LIST => Some(DocumentType::Index),
        OCI_MANIFEST | DOCKER_MANIFEST => Some(DocumentType::Manifest),
        DOCKER_SCHEMA_1 | DOCKER_SCHEMA_1_SIGNED => Some(DocumentType::Schema1),
        _ => None,
    }
}

/// Whether a configuration of this type is that of a container image, rather than of an artifact.
pub fn is_image_config(media_type: &str) -> bool {
    // Docker up to 1.10 pushed configurations as octet streams.
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG | "application/octet-stream")
}

/// How a layer's archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What the media type of a layer says of its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerFormat {
    /// An OCI type: the blob must be what it says.
    Stated(Compression),
    /// A Docker type: its writers have put anything under the name of gzip, so the blob itself tells.
    ByContent,
}

/// Why a layer cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLayer {
    /// Its licence forbids registries to give it out.
    NotDistributable,
    Encrypted,
    /// Not a layer of a file system.
    Foreign,
}

/// The format of a layer by its media type.
pub fn layer_format(media_type: &str) -> Result<LayerFormat, BadLayer> {
    if media_type.ends_with("+encrypted") {
        return Err(BadLayer::Encrypted);
    }
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" => Ok(LayerFormat::Stated(Compression::None)),
        "application/vnd.oci.image.layer.v1.tar+gzip" => Ok(LayerFormat::Stated(Compression::Gzip)),
        "application/vnd.oci.image.layer.v1.tar+zstd" => Ok(LayerFormat::Stated(Compression::Zstd)),
        "application/vnd.docker.image.rootfs.diff.tar"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(LayerFormat::ByContent),
        other
            if other.starts_with("application/vnd.oci.image.layer.nondistributable.")
                || other.starts_with("application/vnd.docker.image.rootfs.foreign.") =>
        {
            Err(BadLayer::NotDistributable)
        }
        _ => Err(BadLayer::Foreign),
    }
}
