//! The list of an OCI image layout, `index.json` (OCI image-spec, image-layout.md).

use std::collections::HashMap;

use cradle_domain::{Digest, Reference};
use serde::Deserialize;

use super::contents::Stretch;
use super::images::{Listed, parse};
use super::{Archive, ArchiveError};
use crate::source::Served;

/// Where it is.
pub const INDEX: &str = "index.json";

/// The whole name of an image, as containerd and docker write it.
pub const NAME: &str = "io.containerd.image.name";
/// A tag or a whole name, as its writer likes it (OCI image-spec, annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What says that an entry is about another one: an attestation.
const ABOUT: &str = "vnd.docker.reference.type";

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: Option<String>,
    digest: Digest,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

/// Its images: each may be an index itself.
pub fn images(archive: &Archive, index: &Stretch) -> Result<Vec<Listed>, ArchiveError> {
    let index: Index = parse(INDEX, &archive.document(INDEX, index)?)?;
    let mut listed = Vec::new();
    for entry in index.manifests {
        let annotations = entry.annotations.unwrap_or_default();
        if annotations.contains_key(ABOUT) {
            continue;
        }
        let served = Served { media_type: entry.media_type, bytes: archive.manifest(&entry.digest)? };
        let names = name(&annotations)?.into_iter().collect();
        listed.push(Listed { names, digest: entry.digest, served, is_original: true });
    }
    if listed.is_empty() { Err(ArchiveError::NoImages { file: INDEX }) } else { Ok(listed) }
}

/// The name of an entry. A word alone is a tag of an image that is not named.
fn name(annotations: &HashMap<String, String>) -> Result<Option<Reference>, ArchiveError> {
    let whole = annotations.get(NAME);
    let name = whole.or_else(|| annotations.get(REF_NAME).filter(|name| name.contains(['/', ':'])));
    name.map(|name| Reference::parse(name).map_err(ArchiveError::Name)).transpose()
}
