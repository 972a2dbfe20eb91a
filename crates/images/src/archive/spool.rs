//! An archive as it comes, decompressed if need be, becomes a copy on disk; where its files are is noted on the way, so
//! that it is read once.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};

use cradle_domain::Digest;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::ArchiveError;
use super::contents::{Contents, Stretch, stated_digest};
use crate::limits::ZSTD_WINDOW_LOG_MAX;
use crate::manifest::Compression;
use crate::pipeline::sniff;
use crate::tar::{Kind, Reader, TarError};

/// A copy of an archive, and where in it each file is.
pub struct Archive {
    pub copy: File,
    pub contents: Contents,
}

/// Copies an archive of at most `limit` bytes to `copy`, and reads it to its very end.
pub fn spool(archive: impl BufRead, copy: File, limit: u64) -> Result<Archive, ArchiveError> {
    let mut archive = archive;
    let (first, compression) = sniff(&mut archive).map_err(ArchiveError::Decompress)?;
    if first.is_empty() {
        return Err(ArchiveError::Empty);
    }
    let whole = Cursor::new(first).chain(archive);
    let contents = match compression {
        Compression::None => take_down(whole, &copy, limit),
        Compression::Gzip => take_down(BufReader::new(MultiGzDecoder::new(whole)), &copy, limit),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole).map_err(ArchiveError::Decompress)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(ArchiveError::Decompress)?;
            take_down(BufReader::new(decoder), &copy, limit)
        }
    }?;
    Ok(Archive { copy, contents })
}

fn take_down(archive: impl BufRead, copy: &File, limit: u64) -> Result<Contents, ArchiveError> {
    let position = Cell::new(0);
    let mut copying = Copying { inner: archive, copy, limit, position: &position, copied: 0, failure: None };
    let noted = note_files(Reader::new(&mut copying), &position);
    if let Some(failure) = copying.failure {
        return Err(failure);
    }
    let contents = noted?;
    // What comes after an archive's end is none of it, but belongs to its checksum.
    io::copy(&mut copying.inner, &mut io::sink()).map_err(ArchiveError::Decompress)?;
    Ok(contents)
}

/// Reads all entries. `position` is that of the reader's input.
fn note_files(mut archive: Reader<impl BufRead>, position: &Cell<u64>) -> Result<Contents, ArchiveError> {
    let mut contents = Contents::default();
    loop {
        let entry = match archive.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(contents),
            // Before any entry: it is something else.
            Err(TarError::Header(_) | TarError::Truncated) if position.get() <= crate::tar::BLOCK as u64 => {
                return Err(ArchiveError::NotTar);
            }
            Err(error) => return Err(ArchiveError::Tar(error)),
        };
        match &entry.kind {
            Kind::File { size, segments: None } => {
                let offset = position.get();
                let digest = match stated_digest(&entry.path) {
                    Some(digest) => digest,
                    None => digest_of_data(&mut archive)?,
                };
                contents.add_file(&entry.path, Stretch { offset, size: *size, digest })?;
            }
            Kind::File { segments: Some(_), .. } => {
                return Err(ArchiveError::Sparse { path: String::from_utf8_lossy(&entry.path).into_owned() });
            }
            Kind::Symlink { target } => contents.add_symlink(&entry.path, target)?,
            Kind::HardLink { target } => contents.add_hard_link(&entry.path, target)?,
            Kind::Directory | Kind::Fifo | Kind::CharacterDevice { .. } | Kind::BlockDevice { .. } => {}
        }
    }
}

fn digest_of_data(archive: &mut Reader<impl BufRead>) -> Result<Digest, ArchiveError> {
    let mut sha256 = Sha256::new();
    loop {
        let data = archive.data().map_err(ArchiveError::Tar)?;
        let count = data.len();
        if count == 0 {
            return Ok(Digest::from_sha256(sha256.finalize().into()));
        }
        sha256.update(data);
        archive.consume(count);
    }
}

/// Copies what is read through it.
struct Copying<'a, R> {
    inner: R,
    copy: &'a File,
    limit: u64,
    /// Bytes that were used up.
    position: &'a Cell<u64>,
    /// How much of the inner reader's buffer is copied already.
    copied: usize,
    /// Why reading fails, where the archive is not to blame.
    failure: Option<ArchiveError>,
}

impl<R: BufRead> BufRead for Copying<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let available = match self.inner.fill_buf() {
            Ok(available) => available,
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(ArchiveError::Decompress(error));
                return Err(kind.into());
            }
        };
        if self.copied == 0 && !available.is_empty() {
            if self.position.get() + available.len() as u64 > self.limit {
                self.failure = Some(ArchiveError::TooLarge { limit: self.limit });
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut copy = self.copy;
            if let Err(error) = copy.write_all(available) {
                let kind = error.kind();
                self.failure = Some(ArchiveError::Copy(error));
                return Err(kind.into());
            }
            self.copied = available.len();
        }
        Ok(available)
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.copied -= count;
        self.position.set(self.position.get() + count as u64);
    }
}

impl<R: BufRead> Read for Copying<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(into.len());
        into[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
