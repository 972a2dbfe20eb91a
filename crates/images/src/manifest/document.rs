//! Reads indexes and manifests, and chooses from an index.

use std::collections::HashMap;

use cradle_domain::{Class, Classified, Digest};
use serde::Deserialize;

use super::artifact::{self, ArtifactError};
use super::media_type::{self, BadLayer, DocumentType};
use super::{Descriptor, ImageKind, LayerContent, LayerDescriptor, Manifest, Platform};
use crate::limits::{CONFIG_MAX_BYTES, LAYERS_MAX, MANIFEST_MAX_BYTES};

/// What a registry served for a reference or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Index(Vec<Choice>),
    Manifest(Manifest),
}

/// One entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub descriptor: Descriptor,
    /// None for a nested index, mostly.
    pub platform: Option<Platform>,
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the manifest is larger than {MANIFEST_MAX_BYTES} bytes")]
    TooLarge,
    #[error("the manifest is not JSON of the expected form")]
    Json(#[source] serde_json::Error),
    #[error("the registry serves the manifest as {served:?}, but it calls itself {stated:?}")]
    TypeMismatch { served: String, stated: String },
    #[error("the manifest is ambiguous: it has the fields of an index and those of an image")]
    Ambiguous,
    #[error("the document of type {media_type:?} is neither a manifest nor an index")]
    UnknownType { media_type: String },
    #[error("the manifest is of Docker's schema 1, which is out of use since 2019")]
    Schema1,
    #[error("schemaVersion is {0}, not 2")]
    SchemaVersion(u64),
    #[error("{field:?} is missing")]
    Missing { field: &'static str },
    #[error("it is an artifact of type {kind:?}, not a container image, and cannot be mounted either")]
    Artifact { kind: String, source: ArtifactError },
    #[error("its configuration has {size} bytes, more than the {CONFIG_MAX_BYTES} that are accepted")]
    ConfigTooLarge { size: u64 },
    #[error("the image has {count} layers, more than the {LAYERS_MAX} that overlayfs can stack")]
    TooManyLayers { count: usize },
    #[error("the layer {digest} is of type {media_type:?}: {why}")]
    Layer { digest: Digest, media_type: String, why: &'static str },
    #[error("the index has no image for {wanted}; it has: {offered}")]
    NoPlatform { wanted: String, offered: String },
    #[error("indexes are nested more than {} deep", crate::limits::INDEX_DEPTH_MAX)]
    TooDeep,
}

impl Classified for DocumentError {
    fn class(&self) -> Class {
        match self {
            DocumentError::NoPlatform { .. } => Class::NotFound,
            DocumentError::Schema1 | DocumentError::Artifact { .. } | DocumentError::Layer { .. } => Class::Invalid,
            DocumentError::TooLarge
            | DocumentError::Json(_)
            | DocumentError::TypeMismatch { .. }
            | DocumentError::Ambiguous
            | DocumentError::UnknownType { .. }
            | DocumentError::SchemaVersion(_)
            | DocumentError::Missing { .. }
            | DocumentError::ConfigTooLarge { .. }
            | DocumentError::TooManyLayers { .. }
            | DocumentError::TooDeep => Class::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            DocumentError::NoPlatform { .. } => "build and push the image for this platform".into(),
            DocumentError::Schema1 => "push the image again with a present tool".into(),
            DocumentError::Artifact { .. } => "name a container image, or an artifact of named files".into(),
            DocumentError::Layer { .. } => "rebuild the image with layers that can be fetched and read".into(),
            _ => "the image in the registry is malformed; push it again".into(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    /// Schema 1 only.
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawDescriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    platform: Option<RawPlatform>,
    #[serde(default)]
    pub annotations: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// Reads what was served as `served`, the registry's media type if it said one that means something.
pub fn parse_document(bytes: &[u8], served: Option<&str>) -> Result<Document, DocumentError> {
    if bytes.len() as u64 > MANIFEST_MAX_BYTES {
        return Err(DocumentError::TooLarge);
    }
    let raw: RawDocument = serde_json::from_slice(bytes).map_err(DocumentError::Json)?;
    let stated = raw.media_type.clone().filter(|stated| !stated.is_empty());
    if let (Some(served), Some(stated)) = (served, &stated)
        && served != stated
    {
        return Err(DocumentError::TypeMismatch { served: served.to_owned(), stated: stated.clone() });
    }
    let image = raw.config.is_some() || raw.layers.is_some();
    if raw.fs_layers.is_some() || raw.schema_version == Some(1) {
        return Err(if image || raw.manifests.is_some() { DocumentError::Ambiguous } else { DocumentError::Schema1 });
    }
    if raw.manifests.is_some() && image {
        return Err(DocumentError::Ambiguous);
    }
    if raw.schema_version != Some(2) {
        return Err(raw
            .schema_version
            .map_or(DocumentError::Missing { field: "schemaVersion" }, DocumentError::SchemaVersion));
    }
    let shape = if raw.manifests.is_some() { DocumentType::Index } else { DocumentType::Manifest };
    if let Some(named) = stated.or_else(|| served.map(str::to_owned)) {
        match media_type::document_type(&named) {
            Some(DocumentType::Schema1) => return Err(DocumentError::Schema1),
            Some(named_shape) if named_shape == shape => {}
            // The type says one thing and the fields another.
            Some(_) => return Err(DocumentError::Ambiguous),
            None => return Err(DocumentError::UnknownType { media_type: named }),
        }
    }
    match raw.manifests {
        Some(manifests) => Ok(Document::Index(manifests.into_iter().filter_map(choice).collect())),
        None => manifest(raw).map(Document::Manifest),
    }
}

/// Entries that are about another entry (signatures, attestations) are no choice.
fn choice(raw: RawDescriptor) -> Option<Choice> {
    let about = raw.annotations.is_some_and(|all| all.contains_key("vnd.docker.reference.type"));
    let platform = raw.platform.map(|raw| Platform {
        os: raw.os,
        architecture: raw.architecture,
        variant: raw.variant.unwrap_or_default(),
    });
    let descriptor = Descriptor { media_type: raw.media_type, digest: raw.digest, size: raw.size };
    (!about).then_some(Choice { descriptor, platform })
}

fn manifest(raw: RawDocument) -> Result<Manifest, DocumentError> {
    let config = raw.config.ok_or(DocumentError::Missing { field: "config" })?;
    let config = Descriptor { media_type: config.media_type, digest: config.digest, size: config.size };
    let layers = raw.layers.ok_or(DocumentError::Missing { field: "layers" })?;
    if layers.len() > LAYERS_MAX {
        return Err(DocumentError::TooManyLayers { count: layers.len() });
    }
    let stated = raw.artifact_type.filter(|kind| !kind.is_empty() && !media_type::is_image_config(kind));
    let by_config = || Some(config.media_type.clone()).filter(|kind| !media_type::is_image_config(kind));
    if let Some(kind) = stated.or_else(by_config) {
        let layers = artifact::layers(layers).map_err(|source| DocumentError::Artifact { kind, source })?;
        return Ok(Manifest { kind: ImageKind::Artifact, config, layers });
    }
    if config.size > CONFIG_MAX_BYTES {
        return Err(DocumentError::ConfigTooLarge { size: config.size });
    }
    let layers = layers.into_iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Manifest { kind: ImageKind::Image, config, layers })
}

fn layer(raw: RawDescriptor) -> Result<LayerDescriptor, DocumentError> {
    match media_type::layer_format(&raw.media_type) {
        Ok(format) => Ok(LayerDescriptor { digest: raw.digest, size: raw.size, format, content: LayerContent::Layer }),
        Err(bad) => {
            let why = match bad {
                BadLayer::NotDistributable => "it may not be given out by registries",
                BadLayer::Encrypted => "it is encrypted, and there is no key for it",
                BadLayer::Foreign => "that is no layer of a file system",
            };
            Err(DocumentError::Layer { digest: raw.digest, media_type: raw.media_type, why })
        }
    }
}

/// The entry of an index that suits this machine best; of equals the first one (OCI image-spec, image-index.md).
pub fn choose<'a>(choices: &'a [Choice], wanted: &Platform) -> Result<&'a Choice, DocumentError> {
    let mut best: Option<(u32, &Choice)> = None;
    for choice in choices {
        if let Some(rank) = choice.platform.as_ref().and_then(|platform| wanted.rank(platform))
            && best.is_none_or(|(so_far, _)| rank > so_far)
        {
            best = Some((rank, choice));
        }
    }
    if let Some((_, choice)) = best {
        return Ok(choice);
    }
    // A nested index tells its platforms itself, and an index of one image need not tell any.
    let nested = |choice: &&Choice| {
        choice.platform.is_none()
            && (choices.len() == 1
                || media_type::document_type(&choice.descriptor.media_type) == Some(DocumentType::Index))
    };
    choices.iter().find(nested).ok_or_else(|| {
        let offered: Vec<String> =
            choices.iter().filter_map(|c| c.platform.as_ref().map(Platform::to_string)).collect();
        DocumentError::NoPlatform { wanted: wanted.to_string(), offered: offered.join(", ") }
    })
}
