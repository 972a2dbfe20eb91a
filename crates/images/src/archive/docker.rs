//! The list of an archive by `docker save`, `manifest.json`. It names a configuration and layers, but no manifest: one is
//! made of them here.

use cradle_domain::Reference;
use serde::Deserialize;
use serde_json::{Value, json};

use super::contents::Stretch;
use super::images::{Listed, parse};
use super::{Archive, ArchiveError};
use crate::pipeline::digest_of;
use crate::source::Served;

/// Where it is.
pub const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Its images.
pub fn images(archive: &Archive, manifest: &Stretch) -> Result<Vec<Listed>, ArchiveError> {
    let entries: Vec<Entry> = parse(MANIFEST, &archive.document(MANIFEST, manifest)?)?;
    if entries.is_empty() {
        return Err(ArchiveError::NoImages { file: MANIFEST });
    }
    entries.into_iter().map(|entry| image(archive, entry)).collect()
}

fn image(archive: &Archive, entry: Entry) -> Result<Listed, ArchiveError> {
    let described = |media_type: &str, path: String| -> Result<Value, ArchiveError> {
        let file = archive.contents.file(&path).ok_or(ArchiveError::NoFile { path })?;
        Ok(json!({ "mediaType": media_type, "digest": file.digest, "size": file.size }))
    };
    let config = described("application/vnd.docker.container.image.v1+json", entry.config)?;
    // Layers of this type may be packed in any way.
    let layer = |path| described("application/vnd.docker.image.rootfs.diff.tar", path);
    let layers: Vec<Value> = entry.layers.unwrap_or_default().into_iter().map(layer).collect::<Result<_, _>>()?;
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
    let bytes = manifest.to_string().into_bytes();
    let names = entry.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| Reference::parse(name).map_err(ArchiveError::Name));
    Ok(Listed {
        names: names.collect::<Result<_, _>>()?,
        digest: digest_of(&bytes),
        served: Served { media_type: None, bytes: bytes.into() },
        is_original: false,
    })
}
