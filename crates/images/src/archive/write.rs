//! Writes images as one archive for two kinds of readers, as docker does since version 25: an OCI image layout, with a
//! manifest.json beside it. The same images give the same bytes.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use cradle_domain::{Class, Classified, Digest, Reference};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{docker, layout};
use crate::limits::ARCHIVE_PIECE_BYTES;
use crate::tar::BLOCK;

/// An image that is all here.
pub struct SavedImage {
    /// Those that were asked for; none: it was asked for by its id.
    pub names: Vec<Reference>,
    pub manifest: (Digest, Bytes),
    /// What the manifest calls itself.
    pub media_type: String,
    pub config: (Digest, Bytes),
    /// The base first.
    pub layers: Vec<SavedBlob>,
}

/// A blob on disk.
pub struct SavedBlob {
    pub digest: Digest,
    pub size: u64,
    pub path: PathBuf,
}

/// An archive that could not be written to its end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("reading the layer {digest}")]
    Read { digest: Digest, source: io::Error },
    #[error("the layer {digest} is damaged on disk: its bytes have the digest {actual}")]
    Damaged { digest: Digest, actual: Digest },
    /// Whoever reads the archive has left.
    #[error("writing the archive")]
    Write(#[source] io::Error),
}

impl Classified for WriteError {
    fn class(&self) -> Class {
        match self {
            WriteError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Class::Refused,
            WriteError::Read { source, .. } => crate::tree::class_of(source),
            WriteError::Damaged { .. } => Class::Corrupt,
            WriteError::Write(_) => Class::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            WriteError::Read { .. } | WriteError::Damaged { .. } => {
                Some("remove the image and pull it again".to_owned())
            }
            WriteError::Write(_) => None,
        }
    }
}

/// Writes an archive of the images. Layers are compared with their digests on the way.
pub fn write(images: &[SavedImage], output: &mut impl Write) -> Result<(), WriteError> {
    let mut written = HashSet::new();
    for image in images {
        for layer in &image.layers {
            if written.insert(&layer.digest) {
                write_layer(layer, output)?;
            }
        }
        for (digest, bytes) in [&image.config, &image.manifest] {
            if written.insert(digest) {
                write_file(&blob_path(digest), bytes, output)?;
            }
        }
    }
    write_file(layout::INDEX, index(images).to_string().as_bytes(), output)?;
    write_file(docker::MANIFEST, list(images).to_string().as_bytes(), output)?;
    write_file("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes(), output)?;
    output.write_all(&[0; 2 * BLOCK]).and_then(|()| output.flush()).map_err(WriteError::Write)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// One entry for each name, as containerd and docker have them.
fn index(images: &[SavedImage]) -> Value {
    let entry = |image: &SavedImage, annotations: BTreeMap<&str, String>| {
        let (digest, bytes) = &image.manifest;
        let mut entry = json!({ "mediaType": image.media_type, "digest": digest, "size": bytes.len() });
        if !annotations.is_empty() {
            entry["annotations"] = json!(annotations);
        }
        entry
    };
    let named = |name: &Reference| {
        let whole = (layout::NAME, name.to_string());
        [Some(whole), name.tag().map(|tag| (layout::REF_NAME, tag.to_owned()))].into_iter().flatten().collect()
    };
    let entries = images.iter().flat_map(|image| match image.names.as_slice() {
        [] => vec![entry(image, BTreeMap::new())],
        names => names.iter().map(|name| entry(image, named(name))).collect(),
    });
    let media_type = crate::manifest::OCI_INDEX;
    json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries.collect::<Vec<_>>() })
}

/// The list that docker's own loaders read.
fn list(images: &[SavedImage]) -> Value {
    let entry = |image: &SavedImage| {
        json!({
            "Config": blob_path(&image.config.0),
            "RepoTags": image.names.iter().map(Reference::to_string).collect::<Vec<_>>(),
            "Layers": image.layers.iter().map(|layer| blob_path(&layer.digest)).collect::<Vec<_>>(),
        })
    };
    images.iter().map(entry).collect()
}

fn write_layer(layer: &SavedBlob, output: &mut impl Write) -> Result<(), WriteError> {
    let failed = |source| WriteError::Read { digest: layer.digest.clone(), source };
    let mut file = File::open(&layer.path).map_err(failed)?.take(layer.size);
    output.write_all(&header(&blob_path(&layer.digest), layer.size)).map_err(WriteError::Write)?;
    let (mut sha256, mut left) = (Sha256::new(), layer.size);
    let mut piece = vec![0; ARCHIVE_PIECE_BYTES];
    while left > 0 {
        let count = match file.read(&mut piece) {
            Ok(0) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(failed)?,
        };
        sha256.update(&piece[..count]);
        output.write_all(&piece[..count]).map_err(WriteError::Write)?;
        left -= count as u64;
    }
    let actual = Digest::from_sha256(sha256.finalize().into());
    if actual != layer.digest {
        return Err(WriteError::Damaged { digest: layer.digest.clone(), actual });
    }
    pad(layer.size, output)
}

fn write_file(path: &str, content: &[u8], output: &mut impl Write) -> Result<(), WriteError> {
    let size = content.len() as u64;
    output.write_all(&header(path, size)).and_then(|()| output.write_all(content)).map_err(WriteError::Write)?;
    pad(size, output)
}

fn pad(size: u64, output: &mut impl Write) -> Result<(), WriteError> {
    let end = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    output.write_all(&[0; BLOCK][..(BLOCK - end) % BLOCK]).map_err(WriteError::Write)
}

/// The header of a regular file. Its paths are short and plain; its size may be of any length, in GNU's form.
fn header(path: &str, size: u64) -> [u8; BLOCK] {
    let mut header = ::tar::Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(::tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    *header.as_bytes()
}
