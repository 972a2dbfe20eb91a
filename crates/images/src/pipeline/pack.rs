//! Stage 3 for a file of an artifact: it becomes an archive of that one file, so that all later stages are those of layers.

use std::io::{self, BufRead, Read, Write};

use bytes::Bytes;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc::Sender;

use super::decompress::{InflateError, Inflated};
use super::pieces::Piece;
use super::verify::Digesting;
use crate::limits::PIECE_BYTES;

/// Sends an archive on that has the blob as the file `name`, with the folders on its way.
pub fn pack<R: BufRead>(mut blob: Digesting<R>, name: &str, size: u64, output: &Sender<Piece>, limit: u64) -> Inflated {
    if size > limit {
        return Inflated { outcome: Err(InflateError::TooLarge { limit }), blob: None };
    }
    let packed = write_archive(&mut blob, name, size, Pieced { output, piece: Vec::new() });
    let outcome = packed.map_err(|error| match output.is_closed() {
        true => InflateError::Unwanted,
        false => InflateError::Damaged(error),
    });
    let blob = blob.finish().ok();
    let outcome = outcome.and_then(|()| match &blob {
        Some(_) => output.blocking_send(Piece::End).map_err(|_closed| InflateError::Unwanted),
        None => Err(InflateError::Damaged(io::ErrorKind::UnexpectedEof.into())),
    });
    Inflated { outcome, blob }
}

fn write_archive(blob: impl Read, name: &str, size: u64, output: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(output);
    for (end, _) in name.match_indices('/') {
        archive.append_data(&mut header(EntryType::Directory, 0o755, 0), &name[..=end], io::empty())?;
    }
    archive.append_data(&mut header(EntryType::Regular, 0o644, size), name, blob.take(size))?;
    archive.into_inner()?.flush()
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Collects what is written into pieces for the next stage.
struct Pieced<'a> {
    output: &'a Sender<Piece>,
    piece: Vec<u8>,
}

impl Write for Pieced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        self.output.blocking_send(Piece::Data(piece)).map_err(|_closed| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio::sync::mpsc;

    use super::super::pieces::Pieces;
    use super::*;
    use crate::pipeline::digest_of;

    #[test]
    fn a_file_becomes_an_archive_of_it_and_its_folders() {
        let content = vec![7; 300_000];
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
        for name in ["a", "b/c/d", &long] {
            let (output, input) = mpsc::channel(1);
            let reader = std::thread::spawn(move || {
                let mut archive = Vec::new();
                Pieces::new(input).read_to_end(&mut archive).map(|_| archive)
            });
            let packed = pack(Digesting::of(Cursor::new(&content)), name, content.len() as u64, &output, u64::MAX);
            drop(output);
            assert!(packed.outcome.is_ok());
            let promised = super::super::verify::check_blob(&digest_of(&content), 300_000, &packed.blob.unwrap());
            assert!(promised.is_ok());
            let archive = reader.join().unwrap().unwrap();
            let mut archive = tar::Archive::new(&*archive);
            let entries = archive.entries().unwrap().map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().to_str().unwrap().to_owned(), entry.size())
            });
            let entries: Vec<_> = entries.collect();
            assert_eq!(entries.last(), Some(&(name.to_owned(), 300_000)));
            assert_eq!(entries.len(), 1 + name.matches('/').count());
        }
        let (output, _input) = mpsc::channel(1);
        let refused = pack(Digesting::of(Cursor::new(b"12345")), "a", 5, &output, 4);
        assert!(matches!(refused.outcome, Err(InflateError::TooLarge { limit: 4 })));
    }
}
