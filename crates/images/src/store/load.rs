//! Loading: the images of an archive are taken in as if its copy were a registry.

use std::fs::File;
use std::io;
use std::sync::Arc;

use cradle_domain::{Class, Classified, Digest, Failure};
use cradle_engine::ports::{ByteStream, LoadedImage};
use tokio::sync::mpsc;

use super::intake::{Intake, IntakeProblem};
use super::records::ReferenceRecord;
use super::snapshot::key_of;
use super::{Inner, run_blocking};
use crate::archive::{Archive, ArchiveError, ArchiveImage, images, spool};
use crate::limits::ARCHIVE_PIECES_MAX;
use crate::pipeline::{Piece, Pieces};
use crate::progress::Board;

/// An archive whose images cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("making a place for a copy of the archive")]
    Place(#[source] io::Error),
    #[error("cannot load the archive")]
    Archive(#[source] ArchiveError),
    #[error("cannot load the image {image} of the archive")]
    Image { image: String, source: IntakeProblem },
}

impl Classified for LoadError {
    fn class(&self) -> Class {
        match self {
            LoadError::Place(error) => crate::tree::class_of(error),
            LoadError::Archive(error) => error.class(),
            LoadError::Image { source, .. } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            LoadError::Place(_) => Some("look at the file system of the image store".into()),
            LoadError::Archive(error) => error.hint(),
            // The hints of a pull speak of registries.
            LoadError::Image { source, .. } if source.class() == Class::Corrupt => {
                Some("the archive is damaged; copy it again, or save the image again".into())
            }
            LoadError::Image { source, .. } => source.hint(),
        }
    }
}

impl Inner {
    /// Takes in all images of an archive. Those that are listed when one fails stay.
    pub(super) async fn load(self: Arc<Self>, stream: Box<dyn ByteStream>) -> Result<Vec<LoadedImage>, Failure> {
        let _permit = self.archive_permits.acquire().await;
        let archive = Arc::new(self.receive(stream).await?);
        let found = run_blocking(move || images(&archive)).await?.map_err(LoadError::Archive)?;
        let mut loaded = Vec::with_capacity(found.len());
        for image in found {
            loaded.push(self.load_image(image).await?);
        }
        self.pulled.store(true, std::sync::atomic::Ordering::Relaxed);
        self.workshop.trash.wake();
        Ok(loaded)
    }

    async fn load_image(self: &Arc<Self>, image: ArchiveImage) -> Result<LoadedImage, LoadError> {
        let ArchiveImage { names, resolved, is_original } = image;
        let manifest = resolved.digest.clone();
        let shown = names.first().map_or_else(|| manifest.to_string(), ToString::to_string);
        let intake = Intake { store: Arc::clone(self), board: Arc::new(Board::default()) };
        let references = |id: &Digest| {
            let record = ReferenceRecord { image: id.clone(), anonymous: true };
            // What an archive says of digests is not believed.
            let by_tag = names.iter().filter(|name| name.digest().is_none()).map(key_of);
            let by_digest = names.iter().filter(|_| is_original).map(|name| name.with_digest(&manifest));
            by_tag.chain(by_digest).map(|name| (name, record.clone())).collect()
        };
        let view = intake.take_in(resolved, references).await;
        let view = view.map_err(|source| LoadError::Image { image: shown, source })?;
        Ok(LoadedImage { id: view.id.clone(), names })
    }

    /// Copies an archive to a file without a name, which is gone with the last who has it open.
    async fn receive(&self, mut stream: Box<dyn ByteStream>) -> Result<Archive, Failure> {
        let (trash, limit) = (self.workshop.layout.trash(), self.workshop.max_unpacked_bytes);
        let (send, pieces) = mpsc::channel(ARCHIVE_PIECES_MAX);
        let spooling = run_blocking(move || {
            let copy = file_without_name(&trash).map_err(LoadError::Place)?;
            spool(Pieces::new(pieces), copy, limit).map_err(LoadError::Archive)
        });
        let feeding = async move {
            while let Some(bytes) = stream.next().await? {
                if send.send(Piece::Data(bytes.into())).await.is_err() {
                    // The other side has an error to tell.
                    return Ok(());
                }
            }
            let _ = send.send(Piece::End).await;
            Ok(())
        };
        let (fed, spooled) = tokio::join!(feeding, spooling);
        fed.map_err(|failure: Failure| failure.context("receiving the archive"))?;
        Ok(spooled??)
    }
}

/// Made in the trash: a crash in between leaves what is thrown away anyway.
fn file_without_name(trash: &std::path::Path) -> io::Result<File> {
    let name = trash.join(format!("archive-{:016x}", u64::from_ne_bytes(cradle_sys::random::bytes()?)));
    let file = File::options().read(true).write(true).create_new(true).open(&name)?;
    match std::fs::remove_file(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(file),
    }
}
