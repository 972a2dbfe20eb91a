//! Keeps blobs beside the layers, where the store is configured to: written while they stream by, and served instead of
//! the registry when a layer has to be unpacked again.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::limits::PIECE_BYTES;
use crate::source::{Answer, Blob, Origin};
use crate::store::Disk;

/// A blob's file that is not committed; dropping it removes it.
pub struct KeptBlob {
    disk: Arc<dyn Disk>,
    file: Option<File>,
    partial: PathBuf,
    path: PathBuf,
}

impl KeptBlob {
    /// Begins a file that will be `path`; `number` tells it from others of the same blob.
    pub fn create(path: PathBuf, number: u64, disk: Arc<dyn Disk>) -> io::Result<Self> {
        let partial = path.with_extension(format!("{number}.partial"));
        let file = File::create(&partial)?;
        Ok(KeptBlob { disk, file: Some(file), partial, path })
    }

    /// Gives the file its name; answers with the bytes it takes on disk.
    pub fn finish(mut self) -> io::Result<u64> {
        let file = self.file.take();
        let bytes = file.map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.blocks() * 512))?;
        self.disk.rename(&self.partial, &self.path)?;
        Ok(bytes)
    }
}

impl Drop for KeptBlob {
    fn drop(&mut self) {
        // After `finish` there is none of this name any more.
        let _ = self.disk.remove_file(&self.partial);
    }
}

/// Where a blob goes while it streams by; none: nowhere.
pub struct Keeping(pub Option<KeptBlob>);

impl Write for Keeping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = self.0.as_mut().and_then(|blob| blob.file.as_mut()) {
            file.write_all(bytes).map_err(|error| io::Error::new(error.kind(), KeepError(error)))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the blob cannot be kept")]
struct KeepError(#[source] io::Error);

/// A kept blob as a source of itself; the registry is its other origin.
pub struct StoredBlob {
    file: tokio::fs::File,
    registry: Arc<dyn Origin>,
}

impl StoredBlob {
    /// The blob's file, if it is there and has the right size.
    pub async fn open(path: &Path, size: u64, registry: &Arc<dyn Origin>) -> Option<Self> {
        let file = tokio::fs::File::open(path).await.ok()?;
        let has_size = file.metadata().await.is_ok_and(|metadata| metadata.len() == size);
        has_size.then(|| StoredBlob { file, registry: Arc::clone(registry) })
    }
}

impl Blob for StoredBlob {
    fn chunk(&mut self) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let mut buffer = vec![0; PIECE_BYTES];
            let count = self.file.read(&mut buffer).await.map_err(ReadError)?;
            buffer.truncate(count);
            Ok((count > 0).then(|| Bytes::from(buffer)))
        })
    }

    fn other_origin(&self) -> Option<Arc<dyn Origin>> {
        Some(Arc::clone(&self.registry))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("reading a kept blob")]
struct ReadError(#[source] io::Error);

impl cradle_domain::Classified for ReadError {
    fn class(&self) -> cradle_domain::Class {
        cradle_domain::Class::Corrupt
    }
}
