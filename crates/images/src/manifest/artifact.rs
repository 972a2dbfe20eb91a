//! Artifacts: manifests of files rather than of a container image (OCI image-spec, manifest.md, Guidelines for Artifact
//! Usage). Such as can be mounted name each of their files, as ORAS and its like do; others are refused.

use std::collections::HashSet;

use cradle_domain::Digest;

use super::document::RawDescriptor;
use super::media_type::{self, LayerFormat};
use super::{LayerContent, LayerDescriptor};
use crate::limits::PATH_MAX_BYTES;

/// The path of a layer's file (OCI image-spec, annotations.md).
const TITLE: &str = "org.opencontainers.image.title";
/// What ORAS says of a folder, which it packs into an archive.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// Longest name of a file (NAME_MAX of Linux).
const NAME_MAX_BYTES: usize = 255;

/// Why an artifact cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("it has no files")]
    Empty,
    #[error("its layer {digest} has no name, which the annotation {TITLE:?} would be")]
    Nameless { digest: Digest },
    #[error("its file {name:?} has a name that no file beneath it can have")]
    Name { name: String },
    #[error("two of its files are called {name:?}")]
    Twice { name: String },
    #[error("its folder {name:?} is of type {media_type:?}, which is no archive")]
    NoArchive { name: String, media_type: String },
}

/// The files of an artifact as layers, the later ones above the earlier ones.
pub fn layers(raw: Vec<RawDescriptor>) -> Result<Vec<LayerDescriptor>, ArtifactError> {
    if raw.is_empty() {
        return Err(ArtifactError::Empty);
    }
    let mut names = HashSet::new();
    let mut layers = Vec::with_capacity(raw.len());
    for RawDescriptor { media_type, digest, size, annotations, .. } in raw {
        let mut annotations = annotations.unwrap_or_default();
        let name = annotations.remove(TITLE).ok_or_else(|| ArtifactError::Nameless { digest: digest.clone() })?;
        if !is_path_beneath(&name) {
            return Err(ArtifactError::Name { name });
        }
        let (format, content) = if annotations.get(UNPACK).is_some_and(|unpack| unpack == "true") {
            match media_type::layer_format(&media_type) {
                Ok(format) => (format, LayerContent::Archive),
                Err(_) => return Err(ArtifactError::NoArchive { name, media_type }),
            }
        } else {
            (LayerFormat::ByContent, LayerContent::File(name.clone()))
        };
        if !names.insert(name.clone()) {
            return Err(ArtifactError::Twice { name });
        }
        layers.push(LayerDescriptor { digest, size, format, content });
    }
    Ok(layers)
}

/// Whether a name is a plain path that cannot leave the folder it is used in, nor is taken for a whiteout.
fn is_path_beneath(name: &str) -> bool {
    let is_part = |part: &str| {
        (1..=NAME_MAX_BYTES).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with(".wh.")
            && !part.contains(char::is_control)
    };
    name.len() <= PATH_MAX_BYTES && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for name in ["a", "model.bin", "a/b/c", "..a", "a b", "ü"] {
            assert!(is_path_beneath(name), "{name}");
        }
        for name in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0", "a\nb", ".wh.a", "x/.wh..wh..opq"] {
            assert!(!is_path_beneath(name), "{name:?}");
        }
        assert!(!is_path_beneath(&"a".repeat(256)) && !is_path_beneath(&"a/".repeat(3000)));
    }
}
