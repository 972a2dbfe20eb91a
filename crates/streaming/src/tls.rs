//! The server's certificate, read again when its files change: whoever renews it need not tell the daemon.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cradle_domain::failure::Chain;
use cradle_domain::{Class, Classified};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

use crate::limits::CERTIFICATE_FILE_MAX_BYTES;

/// Files in PEM form: a certificate with those that lead to its authority, and its key.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} holds no certificate in PEM form", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds no private key in PEM form", path.display())]
    NoKey { path: PathBuf, source: pem::Error },
    #[error("the certificate in {} and the key in {} cannot be used", certificate.display(), key.display())]
    Unusable { certificate: PathBuf, key: PathBuf, source: rustls::Error },
}

impl Classified for CertificateError {
    fn class(&self) -> Class {
        Class::Invalid
    }
}

pub(crate) struct Tls {
    files: CertificateFiles,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    /// Of the files as they were when they were last tried; none: they were not there.
    stamps: Option<[Stamp; 2]>,
    config: Arc<ServerConfig>,
}

/// What differs when a file was written or replaced: device, number, size, and time of the last change.
type Stamp = (u64, u64, u64, i64, i64);

impl Tls {
    pub fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        // Before they are read: what changes meanwhile is read again.
        let stamps = stamps(&files);
        let loaded = Loaded { stamps, config: load(&files)? };
        Ok(Tls { files, loaded: Mutex::new(loaded) })
    }

    /// What the next connection is served with. A changed certificate that cannot be used leaves the one before.
    pub fn config(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps == loaded.stamps {
            return loaded.config.clone();
        }
        loaded.stamps = stamps;
        match load(&self.files) {
            Ok(config) => {
                info!(file = %self.files.certificate.display(), "the streaming server has a new certificate");
                loaded.config = config;
            }
            Err(error) => warn!(error = %Chain(&error), "the streaming server keeps the certificate that it had"),
        }
        loaded.config.clone()
    }
}

fn stamps(files: &CertificateFiles) -> Option<[Stamp; 2]> {
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec()))
    };
    Some([stamp(&files.certificate)?, stamp(&files.key)?])
}

fn load(files: &CertificateFiles) -> Result<Arc<ServerConfig>, CertificateError> {
    let CertificateFiles { certificate, key } = files;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| CertificateError::NoCertificate { path: certificate.clone() })?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?);
    let private = private.map_err(|source| CertificateError::NoKey { path: key.clone(), source })?;
    let unusable = |source| CertificateError::Unusable { certificate: certificate.clone(), key: key.clone(), source };
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(CERTIFICATE_FILE_MAX_BYTES).read_to_end(&mut bytes));
    read.map_err(|source| CertificateError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &CertificateFiles) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        assert!(matches!(Tls::load(files.clone()), Err(CertificateError::Read { .. })));
        write(&files);
        let tls = Tls::load(files.clone()).unwrap();
        let first = tls.config();
        assert!(Arc::ptr_eq(&first, &tls.config()));
        write(&files);
        let second = tls.config();
        assert!(!Arc::ptr_eq(&first, &second));
        std::fs::write(&files.certificate, "nonsense").unwrap();
        assert!(Arc::ptr_eq(&second, &tls.config()));
        assert!(matches!(Tls::load(files), Err(CertificateError::NoCertificate { .. })));
    }
}
