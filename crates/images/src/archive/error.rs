//! Why an archive is refused.

use std::io;

use cradle_domain::reference::BadReference;
use cradle_domain::{Class, Classified, Digest};

use crate::limits::{ARCHIVE_ENTRIES_MAX, ARCHIVE_NAMES_MAX_BYTES, MANIFEST_MAX_BYTES};
use crate::tar::TarError;

/// An archive that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("it is empty")]
    Empty,
    #[error("it is no tar archive, nor one that is compressed by gzip or zstd")]
    NotTar,
    #[error(transparent)]
    Tar(TarError),
    #[error("decompressing it")]
    Decompress(#[source] io::Error),
    #[error("copying it to the image store")]
    Copy(#[source] io::Error),
    #[error("it has more than the {limit} bytes that are accepted")]
    TooLarge { limit: u64 },
    #[error("it has more than {ARCHIVE_ENTRIES_MAX} files")]
    TooManyEntries,
    #[error("the names of its files take more than {ARCHIVE_NAMES_MAX_BYTES} bytes")]
    NamesTooLong,
    #[error("its file {path:?} has holes")]
    Sparse { path: String },
    #[error(
        "it has no images: neither an index.json, as an OCI image layout, nor a manifest.json, as docker save writes"
    )]
    Foreign,
    #[error("its {file} names no image")]
    NoImages { file: &'static str },
    #[error("its {file} is not JSON of the expected form")]
    Json { file: String, source: serde_json::Error },
    #[error("its {file} has {size} bytes, more than the {MANIFEST_MAX_BYTES} that are accepted")]
    DocumentTooLarge { file: String, size: u64 },
    #[error("its manifest.json names the file {path:?}, which is not there")]
    NoFile { path: String },
    #[error("the blob {digest} is not in it")]
    NoBlob { digest: Digest },
    #[error("its blob {promised} has the digest {actual}")]
    OtherBlob { promised: Digest, actual: Digest },
    #[error("an image in it has a bad name")]
    Name(#[source] BadReference),
    #[error("the name {name} stands for two images in it, {one} and {other}")]
    TwoImages { name: String, one: Digest, other: Digest },
    #[error("reading the copy of it")]
    Reread(#[source] io::Error),
}

impl Classified for ArchiveError {
    fn class(&self) -> Class {
        match self {
            ArchiveError::Copy(error) | ArchiveError::Reread(error) => crate::tree::class_of(error),
            ArchiveError::Tar(_) | ArchiveError::Decompress(_) | ArchiveError::OtherBlob { .. } => Class::Corrupt,
            _ => Class::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            ArchiveError::Foreign => {
                "docker save, podman save, skopeo copy and cradle save write archives of images; docker export writes a file system alone"
            }
            ArchiveError::NoFile { .. } | ArchiveError::NoBlob { .. } => {
                "was it written to its end, and for this machine's platform? save the image again"
            }
            ArchiveError::Tar(_) | ArchiveError::Decompress(_) | ArchiveError::OtherBlob { .. } => {
                "it was cut off or damaged; copy it again"
            }
            ArchiveError::TooLarge { .. } => "raise images.max_unpacked_bytes if it is to be trusted",
            ArchiveError::Copy(_) => {
                "an archive is copied before it is unpacked; free space on the file system of the image store"
            }
            ArchiveError::TwoImages { .. } => "save the images into two archives",
            ArchiveError::Sparse { .. } => "write it without --sparse",
            _ => return None,
        };
        Some(text.to_owned())
    }
}
