//! Stage 1: bytes from the source into the pipeline, counted.

use bytes::BytesMut;
use cradle_domain::{Class, Classified, Digest};
use cradle_engine::ports::{LayerProgress, LayerState};
use tokio::sync::mpsc::Sender;

use super::pieces::{Buffers, Piece};
use crate::limits::{FETCHED_PIECES_MAX, PROGRESS_STEP_BYTES};
use crate::progress::Board;
use crate::source::{Blob, SourceError};

/// Why a blob did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Source(SourceError),
    #[error("it ends after {got} of {size} bytes")]
    Short { got: u64, size: u64 },
    #[error("it goes on after its {size} bytes")]
    Long { size: u64 },
    /// The next stage stopped; that one's error is the one to tell.
    #[error("the next stage gave up")]
    Unwanted,
}

impl Classified for FetchError {
    fn class(&self) -> Class {
        match self {
            FetchError::Source(error) => error.class(),
            FetchError::Short { .. } | FetchError::Long { .. } => Class::Corrupt,
            FetchError::Unwanted => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            FetchError::Source(error) => error.hint(),
            FetchError::Short { .. } | FetchError::Long { .. } => Some("push the image to the registry again".into()),
            FetchError::Unwanted => None,
        }
    }
}

/// What was fetched and is not sent on yet. It is copied out of the connection's buffer, which the connection then uses
/// again.
struct Gathering {
    buffers: Buffers,
    piece: BytesMut,
    filled: usize,
    output: Sender<Piece>,
}

impl Gathering {
    fn new(output: Sender<Piece>) -> Self {
        let mut buffers = Buffers::new(FETCHED_PIECES_MAX);
        Gathering { piece: buffers.take(), buffers, filled: 0, output }
    }

    async fn add(&mut self, mut bytes: &[u8]) -> Result<(), FetchError> {
        while !bytes.is_empty() {
            let count = bytes.len().min(self.piece.len() - self.filled);
            self.piece[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled == self.piece.len() {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), FetchError> {
        let mut piece = std::mem::replace(&mut self.piece, self.buffers.take());
        piece.truncate(std::mem::take(&mut self.filled));
        let piece = self.buffers.lend(piece.freeze());
        self.output.send(Piece::Data(piece)).await.map_err(|_closed| FetchError::Unwanted)
    }

    async fn end(mut self) -> Result<(), FetchError> {
        if self.filled > 0 {
            self.send().await?;
        }
        self.output.send(Piece::End).await.map_err(|_closed| FetchError::Unwanted)
    }
}

/// Sends all of a blob on; the end only if it has exactly `size` bytes.
pub async fn fetch(
    blob: &mut dyn Blob,
    layer: &Digest,
    size: u64,
    output: Sender<Piece>,
    board: &Board,
) -> Result<(), FetchError> {
    let tell = |done_bytes, state| {
        board.publish(LayerProgress { layer: layer.clone(), state, done_bytes, total_bytes: size });
    };
    let mut gathering = Gathering::new(output);
    let (mut got, mut told) = (0u64, 0u64);
    tell(0, LayerState::Fetching);
    while let Some(bytes) = blob.chunk().await.map_err(FetchError::Source)? {
        got += bytes.len() as u64;
        if got > size {
            return Err(FetchError::Long { size });
        }
        gathering.add(&bytes).await?;
        if got - told >= PROGRESS_STEP_BYTES {
            told = got;
            tell(got, LayerState::Fetching);
        }
    }
    if got < size {
        return Err(FetchError::Short { got, size });
    }
    tell(got, LayerState::Fetching);
    gathering.end().await
}
