//! Which images an archive has.

use std::collections::HashMap;
use std::sync::Arc;

use cradle_domain::{Digest, Reference};
use serde::de::DeserializeOwned;

use super::origin::ArchiveOrigin;
use super::{Archive, ArchiveError, docker, layout};
use crate::source::{Resolved, Served};

/// An image of an archive, ready to be taken in.
pub struct ArchiveImage {
    /// With tags; none: only its id is a name for it.
    pub names: Vec<Reference>,
    pub resolved: Resolved,
    /// Whether its manifest is one that a registry may have, rather than made up here.
    pub is_original: bool,
}

/// A manifest or index of an archive, with the names that the archive gives it.
pub struct Listed {
    pub names: Vec<Reference>,
    pub digest: Digest,
    pub served: Served,
    pub is_original: bool,
}

/// The images of an archive, in its order.
///
/// docker since version 25, and `write` here, give archives both lists. The OCI one then counts, since it tells manifests;
/// unless it leaves all its images without a name.
pub fn images(archive: &Arc<Archive>) -> Result<Vec<ArchiveImage>, ArchiveError> {
    let contents = &archive.contents;
    let listed = match (contents.file(layout::INDEX), contents.file(docker::MANIFEST)) {
        (None, None) => return Err(ArchiveError::Foreign),
        (Some(index), None) => layout::images(archive, index)?,
        (None, Some(manifest)) => docker::images(archive, manifest)?,
        (Some(index), Some(manifest)) => {
            let of_layout = layout::images(archive, index)?;
            if of_layout.iter().any(|image| !image.names.is_empty()) {
                of_layout
            } else {
                docker::images(archive, manifest)?
            }
        }
    };
    let merged = merged(listed)?;
    let origin = || Arc::new(ArchiveOrigin { archive: Arc::clone(archive) });
    let resolved = |listed: &Listed| listed.digest.clone();
    Ok(merged
        .into_iter()
        .map(|listed| ArchiveImage {
            resolved: Resolved { digest: resolved(&listed), served: listed.served, origin: origin() },
            names: listed.names,
            is_original: listed.is_original,
        })
        .collect())
}

/// Each image once, with all its names. A name stands for one image.
fn merged(listed: Vec<Listed>) -> Result<Vec<Listed>, ArchiveError> {
    let mut owners: HashMap<Reference, Digest> = HashMap::new();
    let mut merged: Vec<Listed> = Vec::new();
    for image in listed {
        for name in &image.names {
            let owner = owners.entry(name.clone()).or_insert_with(|| image.digest.clone());
            if *owner != image.digest {
                let (one, other) = (owner.clone(), image.digest);
                return Err(ArchiveError::TwoImages { name: name.to_string(), one, other });
            }
        }
        match merged.iter_mut().find(|known| known.digest == image.digest) {
            Some(known) => known.names.extend(image.names),
            None => merged.push(image),
        }
    }
    Ok(merged)
}

/// JSON of an archive.
pub fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|source| ArchiveError::Json { file: file.to_owned(), source })
}
