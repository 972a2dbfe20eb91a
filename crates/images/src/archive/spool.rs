//! An archive as it comes, decompressed if need be, becomes a copy on disk; where its files are is noted on the way, so
//! that it is read once.

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
use crate::tee::Tee;

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
    let mut archive = Tee::new(archive, Copying { copy, limit, copied: 0, failure: None });
    let noted = note_files(Reader::new(&mut archive));
    let (mut rest, copying) = archive.into_parts();
    if let Some(failure) = copying.failure {
        return Err(failure);
    }
    let contents = noted?;
    // What comes after an archive's end is none of it, but belongs to its checksum.
    io::copy(&mut rest, &mut io::sink()).map_err(ArchiveError::Decompress)?;
    Ok(contents)
}

/// Reads all entries.
fn note_files<R: BufRead>(mut archive: Reader<&mut Tee<R, Copying<'_>>>) -> Result<Contents, ArchiveError> {
    let mut contents = Contents::default();
    loop {
        let entry = match archive.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(contents),
            // Before any entry: it is something else.
            Err(TarError::Header(_) | TarError::Truncated) if archive.input().passed() <= crate::tar::BLOCK as u64 => {
                return Err(ArchiveError::NotTar);
            }
            Err(error) => return Err(unreadable(error)),
        };
        match &entry.kind {
            Kind::File { size, segments: None } => {
                let offset = archive.input().passed();
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
        let data = archive.data().map_err(unreadable)?;
        let count = data.len();
        if count == 0 {
            return Ok(Digest::from_sha256(sha256.finalize().into()));
        }
        sha256.update(data);
        archive.consume(count);
    }
}

/// An archive that cannot be read on: what it comes through fails, or it is damaged itself.
fn unreadable(error: TarError) -> ArchiveError {
    match error {
        TarError::Read(error) => ArchiveError::Decompress(error),
        error => ArchiveError::Tar(error),
    }
}

/// Copies what is written to it.
struct Copying<'a> {
    copy: &'a File,
    limit: u64,
    copied: u64,
    /// Why that fails: the archive is not to blame.
    failure: Option<ArchiveError>,
}

impl Copying<'_> {
    fn fail(&mut self, kind: io::ErrorKind, failure: ArchiveError) -> io::Result<usize> {
        self.failure = Some(failure);
        Err(kind.into())
    }
}

impl Write for Copying<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.copied += bytes.len() as u64;
        if self.copied > self.limit {
            return self.fail(io::ErrorKind::FileTooLarge, ArchiveError::TooLarge { limit: self.limit });
        }
        let mut copy = self.copy;
        match copy.write_all(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => self.fail(error.kind(), ArchiveError::Copy(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
