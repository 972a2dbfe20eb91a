//! Stages 2 and 4: hashes what streams by, and compares at the end.

use std::io::{self, BufRead, Write};

use cradle_domain::{Class, Classified, Digest};
use sha2::{Digest as _, Sha256};

use crate::tee::Tee;

/// Hashes and counts all that is read through it.
pub type Digesting<R> = Tee<R, Hashing>;

/// Hashes what is written to it.
pub struct Hashing(Sha256);

/// The digest and length of a stream that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    digest: Digest,
    length: u64,
}

impl<R: BufRead> Digesting<R> {
    pub fn of(inner: R) -> Self {
        Tee::new(inner, Hashing(Sha256::new()))
    }

    /// Reads on to the end of the stream.
    pub fn finish(mut self) -> io::Result<Sum> {
        self.drain()?;
        let length = self.passed();
        let (_, Hashing(sha256)) = self.into_parts();
        Ok(Sum { digest: Digest::from_sha256(sha256.finalize().into()), length })
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
