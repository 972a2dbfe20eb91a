//! Stages 2 and 4: hashes what streams by, and compares at the end.

use std::io::{self, BufRead, Read};

use cradle_domain::{Class, Classified, Digest};
use sha2::{Digest as _, Sha256};

/// Hashes and counts all that is read through it.
pub struct Digesting<R> {
    inner: R,
    sha256: Sha256,
    length: u64,
    /// How much of the inner reader's buffer is hashed already.
    hashed: usize,
}

/// The digest and length of a stream that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    digest: Digest,
    length: u64,
}

impl<R: BufRead> Digesting<R> {
    pub fn new(inner: R) -> Self {
        Digesting { inner, sha256: Sha256::new(), length: 0, hashed: 0 }
    }

    /// Reads on to the end of the stream.
    pub fn finish(mut self) -> io::Result<Sum> {
        loop {
            let count = self.fill_buf()?.len();
            if count == 0 {
                return Ok(Sum { digest: Digest::from_sha256(self.sha256.finalize().into()), length: self.length });
            }
            self.consume(count);
        }
    }
}

impl<R: BufRead> BufRead for Digesting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let available = self.inner.fill_buf()?;
        if self.hashed == 0 {
            self.sha256.update(available);
            self.length += available.len() as u64;
            self.hashed = available.len();
        }
        Ok(available)
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.hashed -= count;
    }
}

impl<R: BufRead> Read for Digesting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(into.len());
        into[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Something whose content is what its digests promise.
#[derive(Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub fn get(&self) -> &T {
        &self.0
    }

    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Content that is not what was promised.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("its bytes have the digest {actual}, not {promised}: it was damaged on the way or in the registry")]
    Blob { promised: Digest, actual: Digest },
    #[error("it has {actual} bytes, not {promised}")]
    Length { promised: u64, actual: u64 },
    #[error("unpacked it has the digest {actual}, but the image's configuration says {promised}")]
    Archive { promised: Digest, actual: Digest },
}

impl Classified for VerifyError {
    fn class(&self) -> Class {
        Class::Corrupt
    }

    fn hint(&self) -> Option<String> {
        Some("pull again; if it stays, push the image to the registry again".into())
    }
}

/// Whether a blob is the promised one.
pub fn check_blob(promised: &Digest, size: u64, blob: &Sum) -> Result<(), VerifyError> {
    if blob.length != size {
        return Err(VerifyError::Length { promised: size, actual: blob.length });
    }
    if blob.digest != *promised {
        return Err(VerifyError::Blob { promised: promised.clone(), actual: blob.digest.clone() });
    }
    Ok(())
}

/// Verifies a layer by the sum of its archive, once its blob is checked.
pub fn verify_archive<T>(unpacked: T, diff_id: &Digest, archive: &Sum) -> Result<Verified<T>, VerifyError> {
    if archive.digest == *diff_id {
        return Ok(Verified(unpacked));
    }
    Err(VerifyError::Archive { promised: diff_id.clone(), actual: archive.digest.clone() })
}

/// Verifies what nothing but its blob is promised of, as the files of an artifact.
pub fn verify_blob<T>(unpacked: T, promised: &Digest, size: u64, blob: &Sum) -> Result<Verified<T>, VerifyError> {
    check_blob(promised, size, blob).map(|()| Verified(unpacked))
}

/// The digest of bytes in memory.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}
