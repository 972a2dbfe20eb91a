//! In words and figures: whom a pull would ask, and what an image is made of.

use std::sync::Arc;

use cradle_domain::{Class, Classified, Digest, Reference};
use cradle_engine::ports::{Credentials, ImageDetails, LayerDetails};
use serde::Deserialize;

use super::Inner;
use super::database::DatabaseError;
use super::records::ImageRecord;
use crate::manifest::{Document, ImageKind, Manifest, OCI_MANIFEST, parse_document};
use crate::source::SourceError;

/// A pull that cannot be explained: what says whom to ask cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell whom a pull of {reference} would ask")]
pub struct ExplainError {
    reference: Reference,
    source: SourceError,
}

impl Classified for ExplainError {
    fn class(&self) -> Class {
        self.source.class()
    }

    fn hint(&self) -> Option<String> {
        self.source.hint()
    }
}

/// An image of which it cannot be told what it is made of.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    #[error("cannot tell what the image {image} is made of")]
    Record { image: Digest, source: DatabaseError },
    #[error("cannot tell what the image {image} is made of: its manifest is missing in the image database")]
    NoManifest { image: Digest },
}

impl Classified for DescribeError {
    fn class(&self) -> Class {
        match self {
            DescribeError::Record { source, .. } => source.class(),
            DescribeError::NoManifest { .. } => Class::Corrupt,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            DescribeError::Record { source, .. } => source.hint(),
            DescribeError::NoManifest { .. } => {
                Some("containers run from it all the same; to mend it, remove the image and pull it again".into())
            }
        }
    }
}

/// The manifest that led to an image, as it came.
pub struct KnownManifest {
    pub record: ImageRecord,
    pub digest: Digest,
    pub bytes: Vec<u8>,
    pub media_type: String,
    pub manifest: Manifest,
}

impl Inner {
    pub(super) async fn explain(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<String, ExplainError> {
        let explained = self.source.explain(reference, credentials).await;
        explained.map_err(|source| ExplainError { reference: reference.clone(), source })
    }

    pub(super) fn describe(&self, name: &str) -> Result<Option<ImageDetails>, DescribeError> {
        let snapshot = self.catalogue.snapshot();
        let Some(image) = snapshot.find(name) else { return Ok(None) };
        let id = &image.view.id;
        let record = |source| DescribeError::Record { image: id.clone(), source };
        let known = self.manifest_of(id).map_err(record)?;
        let known = known.ok_or_else(|| DescribeError::NoManifest { image: id.clone() })?;
        let config = match known.manifest.kind {
            ImageKind::Image => self.catalogue.document(id).map_err(record)?.unwrap_or_default(),
            ImageKind::Artifact => b"{}".to_vec(),
        };
        let layers = known.record.layers.iter().zip(&known.manifest.layers).map(|(layer, descriptor)| LayerDetails {
            digest: descriptor.digest.clone(),
            compressed_bytes: descriptor.size,
            diff_id: layer.diff_id.clone(),
            unpacked_bytes: self.catalogue.layer(layer).map_or(0, |layer| layer.record.bytes),
            is_blob_kept: self.workshop.layout.blob(&descriptor.digest).exists(),
        });
        let shared = snapshot.shared_bytes().into_iter().find_map(|(image, bytes)| (image == *id).then_some(bytes));
        Ok(Some(ImageDetails {
            view: Arc::clone(&image.view),
            manifest: known.digest,
            manifest_media_type: known.media_type,
            config,
            layers: layers.collect(),
            shared_bytes: shared.unwrap_or_default(),
        }))
    }

    /// The manifest by which an image came, the latest of several.
    pub(super) fn manifest_of(&self, image: &Digest) -> Result<Option<KnownManifest>, DatabaseError> {
        let Some(record) = self.catalogue.image_record(image) else { return Ok(None) };
        for digest in record.documents.iter().rev() {
            let Some(bytes) = self.catalogue.document(digest)? else { continue };
            if let Ok(Document::Manifest(manifest)) = parse_document(&bytes, None)
                && [digest, &manifest.config.digest].contains(&image)
            {
                let (digest, media_type) = (digest.clone(), media_type_of(&bytes));
                return Ok(Some(KnownManifest { record, digest, bytes, media_type, manifest }));
            }
        }
        Ok(None)
    }
}

/// What a manifest calls itself; those of OCI need not say it.
fn media_type_of(manifest: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        media_type: Option<String>,
    }
    let named = serde_json::from_slice::<Named>(manifest).ok().and_then(|named| named.media_type);
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| OCI_MANIFEST.to_owned())
}
