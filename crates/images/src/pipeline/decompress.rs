//! Stage 3: from the blob to the archive within. gzip with all its members, zstd with all its frames (eStargz and
//! zstd:chunked are such), or as it is.

use std::io::{self, BufRead, Cursor, Read};

use cradle_domain::{Class, Classified};
use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc::Sender;

use super::pieces::{Buffers, Piece};
use super::verify::{Digesting, Sum};
use crate::limits::{INFLATED_PIECES_MAX, ZSTD_WINDOW_LOG_MAX};
use crate::manifest::{Compression, LayerFormat};

/// Why a blob does not become an archive.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    #[error("its media type says {stated:?}, but its content is {actual:?}")]
    OtherCompression { stated: Compression, actual: Compression },
    #[error("its content cannot be decompressed")]
    Damaged(#[source] io::Error),
    #[error("it unpacks to more than the {limit} bytes that are allowed for one layer")]
    TooLarge { limit: u64 },
    /// The next stage stopped; that one's error is the one to tell.
    #[error("the next stage gave up")]
    Unwanted,
}

impl Classified for InflateError {
    fn class(&self) -> Class {
        match self {
            InflateError::OtherCompression { .. } | InflateError::TooLarge { .. } => Class::Invalid,
            InflateError::Damaged(error) if error.kind() == io::ErrorKind::StorageFull => Class::Exhausted,
            InflateError::Damaged(_) => Class::Corrupt,
            InflateError::Unwanted => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            InflateError::TooLarge { .. } => {
                Some("raise the limit in the configuration if the image is to be trusted".into())
            }
            InflateError::Damaged(error) if error.kind() == io::ErrorKind::StorageFull => {
                Some("free space on the file system of the image store and pull again".into())
            }
            _ => Some("the image in the registry is malformed; build and push it again".into()),
        }
    }
}

/// What came of a blob. Without its sum the blob was not read to the end.
pub struct Inflated {
    pub outcome: Result<(), InflateError>,
    pub blob: Option<Sum>,
}

/// Sends the archive in a blob on, of at most `limit` bytes. A blob that cannot be decompressed is still hashed, to tell
/// a damaged transfer from a damaged image.
pub fn inflate<R: BufRead>(
    mut blob: Digesting<R>,
    format: LayerFormat,
    output: &Sender<Piece>,
    limit: u64,
) -> Inflated {
    let outcome = inflate_into(&mut blob, format, output, limit);
    let blob = match outcome {
        Ok(()) | Err(InflateError::Damaged(_) | InflateError::OtherCompression { .. }) => blob.finish().ok(),
        Err(InflateError::TooLarge { .. } | InflateError::Unwanted) => None,
    };
    // The end is sent only when the blob, too, was read to its end.
    let outcome = outcome.and_then(|()| match &blob {
        Some(_) => output.blocking_send(Piece::End).map_err(|_closed| InflateError::Unwanted),
        None => Err(InflateError::Damaged(io::ErrorKind::UnexpectedEof.into())),
    });
    Inflated { outcome, blob }
}

fn inflate_into<R: BufRead>(
    blob: &mut Digesting<R>,
    format: LayerFormat,
    output: &Sender<Piece>,
    limit: u64,
) -> Result<(), InflateError> {
    let (first, actual) = sniff(blob).map_err(InflateError::Damaged)?;
    if let LayerFormat::Stated(stated) = format
        && stated != actual
    {
        return Err(InflateError::OtherCompression { stated, actual });
    }
    let whole = Cursor::new(first).chain(blob);
    match actual {
        Compression::None => pump(whole, output, limit),
        Compression::Gzip => pump(MultiGzDecoder::new(whole), output, limit),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole).map_err(InflateError::Damaged)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(InflateError::Damaged)?;
            pump(decoder, output, limit)
        }
    }
}

/// Reads the first bytes and tells the compression by them.
pub fn sniff(blob: &mut impl Read) -> io::Result<(Vec<u8>, Compression)> {
    let mut first = Vec::with_capacity(4);
    blob.take(4).read_to_end(&mut first)?;
    let compression = match first.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        // A skippable frame, as some writers put before the others (RFC 8878, 3.1.2).
        [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Compression::Zstd,
        _ => Compression::None,
    };
    Ok((first, compression))
}

fn pump(mut archive: impl Read, output: &Sender<Piece>, limit: u64) -> Result<(), InflateError> {
    let mut buffers = Buffers::new(INFLATED_PIECES_MAX);
    let mut total = 0u64;
    loop {
        let mut buffer = buffers.take();
        let mut filled = 0;
        while filled < buffer.len() {
            match archive.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(InflateError::Damaged(error)),
            }
        }
        total += filled as u64;
        if total > limit {
            return Err(InflateError::TooLarge { limit });
        }
        if filled == 0 {
            return Ok(());
        }
        let is_last = filled < buffer.len();
        buffer.truncate(filled);
        let piece = buffers.lend(buffer.freeze());
        output.blocking_send(Piece::Data(piece)).map_err(|_closed| InflateError::Unwanted)?;
        if is_last {
            return Ok(());
        }
    }
}
