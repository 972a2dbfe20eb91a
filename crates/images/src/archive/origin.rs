//! A copied archive as the source of what its manifests name.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use cradle_domain::Digest;

use super::contents::Stretch;
use super::{Archive, ArchiveError};
use crate::limits::{ARCHIVE_PIECE_BYTES, MANIFEST_MAX_BYTES};
use crate::pipeline::digest_of;
use crate::source::{Answer, Blob, Origin, Served};

impl Archive {
    /// A document of at most the size of a manifest.
    pub fn document(&self, name: &str, file: &Stretch) -> Result<Vec<u8>, ArchiveError> {
        if file.size > MANIFEST_MAX_BYTES {
            return Err(ArchiveError::DocumentTooLarge { file: name.to_owned(), size: file.size });
        }
        let mut bytes = vec![0; usize::try_from(file.size).unwrap_or_default()];
        self.copy.read_exact_at(&mut bytes, file.offset).map_err(ArchiveError::Reread)?;
        Ok(bytes)
    }

    /// A manifest or index, compared with its digest.
    pub fn manifest(&self, digest: &Digest) -> Result<Bytes, ArchiveError> {
        let file = self.contents.blob(digest).ok_or_else(|| ArchiveError::NoBlob { digest: digest.clone() })?;
        let bytes = self.document(digest.as_str(), file)?;
        let actual = digest_of(&bytes);
        if actual != *digest {
            return Err(ArchiveError::OtherBlob { promised: digest.clone(), actual });
        }
        Ok(bytes.into())
    }
}

/// Serves manifests and blobs of an archive.
pub struct ArchiveOrigin {
    pub archive: Arc<Archive>,
}

impl Origin for ArchiveOrigin {
    fn manifest<'a>(&'a self, digest: &'a Digest) -> Answer<'a, Served> {
        Box::pin(async move { Ok(Served { media_type: None, bytes: self.archive.manifest(digest)? }) })
    }

    fn blob<'a>(&'a self, digest: &'a Digest, _size: u64) -> Answer<'a, Box<dyn Blob>> {
        Box::pin(async move {
            let file = self.archive.contents.blob(digest);
            let left = file.ok_or_else(|| ArchiveError::NoBlob { digest: digest.clone() })?.clone();
            Ok(Box::new(ArchiveBlob { archive: Arc::clone(&self.archive), left }) as Box<dyn Blob>)
        })
    }
}

/// What is left to be read of a blob.
struct ArchiveBlob {
    archive: Arc<Archive>,
    left: Stretch,
}

impl Blob for ArchiveBlob {
    fn chunk(&mut self) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let length = usize::try_from(self.left.size).unwrap_or(usize::MAX).min(ARCHIVE_PIECE_BYTES);
            if length == 0 {
                return Ok(None);
            }
            let (archive, offset) = (Arc::clone(&self.archive), self.left.offset);
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length];
                archive.copy.read_exact_at(&mut piece, offset).map(|()| piece)
            });
            let piece = read.await.map_err(io::Error::other).and_then(|read| read).map_err(ArchiveError::Reread)?;
            self.left.offset += length as u64;
            self.left.size -= length as u64;
            Ok(Some(piece.into()))
        })
    }

    fn other_origin(&self) -> Option<Arc<dyn Origin>> {
        None
    }
}
