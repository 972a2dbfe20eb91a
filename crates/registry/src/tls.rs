//! TLS: the system's authorities and those of a `hosts.toml`, client certificates, and one provider of cryptography (ring),
//! named explicitly, since two compiled-in providers make rustls refuse to choose.
//!
//! The system's authorities are read once, with the first host that needs them. The files of a `hosts.toml` are read anew
//! for each pull, and the configuration made of them is kept as long as they hold the same bytes, so that connections and
//! TLS sessions can be used again.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::hosts::Trust;
use crate::limits;

/// A configuration and a number that tells it from others in the keys of the connection pool.
#[derive(Debug)]
pub(crate) struct TlsSetup {
    pub(crate) id: u64,
    pub(crate) config: Arc<ClientConfig>,
}

/// Certificates or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {limit} bytes", path = path.display(), limit = limits::CERTIFICATE_FILE_MAX_BYTES)]
    TooLarge { path: PathBuf },
    #[error("{path} holds no certificate in PEM form", path = path.display())]
    NoCertificate { path: PathBuf },
    #[error("{path} holds no private key in PEM form", path = path.display())]
    NoKey { path: PathBuf },
    #[error("a certificate in {path} cannot be used", path = path.display())]
    BadCertificate { path: PathBuf, source: rustls::Error },
    #[error("the key in {key} does not go with the certificate in {certificate}", key = key.display(), certificate = certificate.display())]
    BadPair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("no TLS configuration can be made")]
    Unusable { source: rustls::Error },
    #[error("the task that reads certificates did not end")]
    Interrupted,
}

/// The configurations in use.
#[derive(Debug, Default)]
pub(crate) struct TlsSetups {
    system: OnceLock<RootCertStore>,
    kept: Mutex<Vec<Kept>>,
    next: AtomicU64,
}

struct Kept {
    trust: Trust,
    files: Vec<Vec<u8>>,
    setup: Arc<TlsSetup>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({})", self.setup.id)
    }
}

impl TlsSetups {
    /// The configuration for `trust`; reads files, so not for a thread of the async runtime.
    pub(crate) fn setup(&self, trust: &Trust) -> Result<Arc<TlsSetup>, TrustError> {
        let names = trust.ca.iter().chain(trust.client.iter().flat_map(|(certificate, key)| [certificate, key]));
        let files = names.map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = kept.iter().find(|kept| kept.trust == *trust && kept.files == files) {
            return Ok(same.setup.clone());
        }
        let config = Arc::new(configure(trust, &files, self.system.get_or_init(system_authorities))?);
        let setup = Arc::new(TlsSetup { id: self.next.fetch_add(1, Ordering::Relaxed), config });
        if kept.len() >= limits::TLS_SETUPS_MAX {
            kept.remove(0);
        }
        kept.push(Kept { trust: trust.clone(), files, setup: setup.clone() });
        Ok(setup)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let error = |source| TrustError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(error)?;
    file.take(limits::CERTIFICATE_FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > limits::CERTIFICATE_FILE_MAX_BYTES {
        return Err(TrustError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// The authorities of the machine. One that cannot be read is left out: a host that needs it will say so.
fn system_authorities() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "an authority of the system is left out");
    }
    let mut store = RootCertStore::empty();
    let (used, ignored) = store.add_parsable_certificates(found.certs);
    tracing::debug!(used, ignored, "read the system's certificate authorities");
    store
}

/// `files` are the contents of the trust's authorities, then of its pairs of certificate and key.
fn configure(trust: &Trust, files: &[Vec<u8>], system: &RootCertStore) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (authorities, pairs) = files.split_at(trust.ca.len().min(files.len()));
    let mut store = system.clone();
    let mut pinned = Vec::new();
    for (path, pem) in trust.ca.iter().zip(authorities) {
        for certificate in certificates(path, pem)? {
            let bad = |source| TrustError::BadCertificate { path: path.clone(), source };
            store.add(certificate.clone()).map_err(bad)?;
            pinned.push(certificate);
        }
    }
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|source| TrustError::Unusable { source })?;
    let builder = if trust.skip_verify || !pinned.is_empty() {
        let verifier = Verifier::new(trust, &provider, store, pinned)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        builder.with_root_certificates(store)
    };
    let mut identities = Vec::with_capacity(trust.client.len());
    for ((certificate, key), pem) in trust.client.iter().zip(pairs.chunks_exact(2)) {
        let chain = certificates(certificate, &pem[0])?;
        let secret = PrivateKeyDer::from_pem_slice(&pem[1]).map_err(|_| TrustError::NoKey { path: key.clone() })?;
        let bad = |source| TrustError::BadPair { certificate: certificate.clone(), key: key.clone(), source };
        identities.push(Arc::new(CertifiedKey::from_der(chain, secret, &provider).map_err(bad)?));
    }
    let mut config = if identities.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_resolver(Arc::new(Identities(identities)))
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let none = || TrustError::NoCertificate { path: path.to_owned() };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| none())?;
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

/// Checks certificates where rustls' own rules do not fit: not at all for `skip_verify`; and for the authorities of a
/// `hosts.toml`, also a registry that shows one of them as its own certificate.
///
/// The latter is what `openssl req -x509` makes and what containerd accepts; webpki refuses it as an authority used as a
/// server, after it has checked the dates.
#[derive(Debug)]
struct Verifier {
    /// None: nothing is checked.
    chain: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(
        trust: &Trust,
        provider: &Arc<CryptoProvider>,
        store: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
    ) -> Result<Self, TrustError> {
        let chain = if trust.skip_verify {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
            Some(built.map_err(|error| TrustError::Unusable { source: rustls::Error::General(error.to_string()) })?)
        };
        Ok(Verifier { chain, pinned, algorithms: provider.signature_verification_algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if is_authority_as_server(&error) && self.pinned.iter().any(|known| known == end_entity) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificates with which the daemon can show who it is; the server names the authorities that it believes.
#[derive(Debug)]
struct Identities(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identities {
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = || self.0.iter().filter(|identity| identity.key.choose_scheme(schemes).is_some());
        // An issuer's name stands in a certificate exactly as the server repeats it here.
        let names = |der: &[u8], name: &[u8]| !name.is_empty() && der.windows(name.len()).any(|part| part == name);
        let issued = |identity: &&Arc<CertifiedKey>| {
            identity.cert.iter().any(|certificate| authorities.iter().any(|authority| names(certificate, authority)))
        };
        usable().find(issued).or_else(|| usable().next()).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// webpki's error comes wrapped and without a type that could be asked; a test in tests/tls.rs holds its name.
fn is_authority_as_server(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string() == "CaUsedAsEndEntity",
        _ => false,
    }
}
