//! Saving: images as an archive, in a thread of their own that writes as fast as the client reads.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use cradle_domain::{Class, Classified, Digest, Failure, Reference};
use cradle_engine::ports::{Act, ByteStream};
use tokio::sync::mpsc;

use super::database::DatabaseError;
use super::{Inner, run_blocking};
use crate::archive::{SavedBlob, SavedImage, WriteError, write};
use crate::limits::{ARCHIVE_PIECE_BYTES, ARCHIVE_PIECES_MAX};
use crate::manifest::{ImageKind, LayerDescriptor};

/// Images that cannot be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("there is no image {name:?}")]
    NoImage { name: String },
    #[error("cannot save the image {name:?}")]
    Record { name: String, source: DatabaseError },
    #[error("cannot save the image {name:?}: its manifest is missing in the image database")]
    NoManifest { name: String },
    #[error("cannot save {name:?}: it is an artifact, which no reader of archives of images would take")]
    Artifact { name: String },
    #[error("cannot save the image {name:?}: its compressed layer {layer} was discarded after it was unpacked")]
    Discarded { name: String, layer: Digest, is_kept_now: bool },
    #[error("starting a thread")]
    Thread(#[source] io::Error),
}

impl Classified for SaveError {
    fn class(&self) -> Class {
        match self {
            SaveError::NoImage { .. } => Class::NotFound,
            SaveError::Record { source, .. } => source.class(),
            SaveError::NoManifest { .. } => Class::Corrupt,
            SaveError::Artifact { .. } | SaveError::Discarded { .. } => Class::Refused,
            SaveError::Thread(error) => crate::tree::class_of(error),
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            SaveError::Discarded { is_kept_now: true, .. } => {
                "it came before images.keep_blobs was set: remove the image and pull or load it again"
            }
            SaveError::Discarded { is_kept_now: false, .. } => {
                "set images.keep_blobs = true in the configuration and restart the daemon, then remove the image and pull or load it again"
            }
            SaveError::NoManifest { .. } => "remove the image and pull it again",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl Inner {
    /// The images as an archive. All of them are looked up before the first byte.
    pub(super) async fn save(self: Arc<Self>, names: Vec<String>) -> Result<Box<dyn ByteStream>, Failure> {
        let permit = Arc::clone(&self.archive_permits).acquire_owned().await;
        let images = run_blocking(move || self.to_be_saved(&names)).await??;
        let (output, input) = mpsc::channel(ARCHIVE_PIECES_MAX);
        let work = move || {
            let _permit = permit;
            let mut sending = Sending { output, piece: Vec::with_capacity(ARCHIVE_PIECE_BYTES) };
            let last = write(&images, &mut sending).map(|()| None);
            // A client that has left wants no end.
            let _ = sending.output.blocking_send(last);
        };
        thread::Builder::new().name("image-save".into()).spawn(work).map_err(SaveError::Thread)?;
        Ok(Box::new(SavedArchive { input }))
    }

    /// Each image once, with those of its tags that were asked for.
    fn to_be_saved(&self, names: &[String]) -> Result<Vec<SavedImage>, SaveError> {
        let snapshot = self.catalogue.snapshot();
        let mut images: Vec<SavedImage> = Vec::new();
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for name in names {
            let found = snapshot.find(name).ok_or_else(|| SaveError::NoImage { name: name.clone() })?;
            let place = match places.get(&found.view.id) {
                Some(place) => *place,
                None => {
                    images.push(self.saved_image(name, &found.view.id)?);
                    places.insert(found.view.id.clone(), images.len() - 1);
                    images.len() - 1
                }
            };
            let tag = found.view.tags.iter().find(|tag| Reference::parse(name).as_ref() == Ok(*tag));
            if let Some(tag) = tag.filter(|tag| !images[place].names.contains(tag)) {
                images[place].names.push(tag.clone());
            }
        }
        Ok(images)
    }

    fn saved_image(&self, name: &str, id: &Digest) -> Result<SavedImage, SaveError> {
        let name = name.to_owned();
        let record = |source| SaveError::Record { name: name.clone(), source };
        let known = self.manifest_of(id).map_err(record)?;
        if known.as_ref().is_some_and(|known| known.manifest.kind == ImageKind::Artifact) {
            return Err(SaveError::Artifact { name });
        }
        let config = self.catalogue.document(id).map_err(record)?;
        let (Some(known), Some(config)) = (known, config) else { return Err(SaveError::NoManifest { name }) };
        let layer = |layer: &LayerDescriptor| {
            let path = self.workshop.layout.blob(&layer.digest);
            let is_whole = std::fs::metadata(&path).is_ok_and(|file| file.len() == layer.size);
            let is_kept_now = self.workshop.keep_blobs;
            let discarded = || SaveError::Discarded { name: name.clone(), layer: layer.digest.clone(), is_kept_now };
            is_whole.then(|| SavedBlob { digest: layer.digest.clone(), size: layer.size, path }).ok_or_else(discarded)
        };
        Ok(SavedImage {
            names: Vec::new(),
            layers: known.manifest.layers.iter().map(layer).collect::<Result<_, _>>()?,
            manifest: (known.digest, known.bytes.into()),
            media_type: known.media_type,
            config: (id.clone(), config.into()),
        })
    }
}

/// A piece of an archive; none: it is whole.
type Message = Result<Option<Vec<u8>>, WriteError>;

/// Collects what is written into pieces and sends them on.
struct Sending {
    output: mpsc::Sender<Message>,
    piece: Vec<u8>,
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(ARCHIVE_PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == ARCHIVE_PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(ARCHIVE_PIECE_BYTES));
        let closed = |_| io::Error::new(io::ErrorKind::BrokenPipe, "its reader has left");
        self.output.blocking_send(Ok(Some(piece))).map_err(closed)
    }
}

/// An archive that is being written.
struct SavedArchive {
    input: mpsc::Receiver<Message>,
}

impl ByteStream for SavedArchive {
    fn next(&mut self) -> Act<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            match self.input.recv().await {
                Some(message) => Ok(message?),
                None => Err(Failure::new(Class::Bug, "the thread that writes the archive was lost")),
            }
        })
    }
}
