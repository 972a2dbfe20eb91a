//! Where images come from, as the pipeline sees it: a registry in the daemon, an archive or a fake elsewhere.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use cradle_domain::{Class, Classified, Digest, Reference};
use cradle_engine::ports::Credentials;
use cradle_registry as registry;

/// What is asked of a source, in time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// Resolves references.
pub trait Source: Send + Sync + 'static {
    /// The manifest or index that a reference names.
    fn resolve<'a>(&'a self, reference: &'a Reference, credentials: Option<&'a Credentials>) -> Answer<'a, Resolved>;

    /// The digest that a tag has at the moment, where that can be had for less than resolving it.
    fn current_digest<'a>(
        &'a self,
        reference: &'a Reference,
        credentials: Option<&'a Credentials>,
    ) -> Pin<Box<dyn Future<Output = Option<Digest>> + Send + 'a>>;

    /// Whom `resolve` would ask, in which order, and why, in words.
    fn explain<'a>(&'a self, reference: &'a Reference, credentials: Option<&'a Credentials>) -> Answer<'a, String>;
}

/// A reference's manifest or index.
pub struct Resolved {
    /// Of `served`, which it was compared with.
    pub digest: Digest,
    pub served: Served,
    /// For what it names.
    pub origin: Arc<dyn Origin>,
}

/// A manifest or index as it came.
pub struct Served {
    /// None if the source says nothing that means something.
    pub media_type: Option<String>,
    pub bytes: Bytes,
}

/// Serves what the manifests of one reference name.
pub trait Origin: Send + Sync {
    /// A manifest, compared with its digest.
    fn manifest<'a>(&'a self, digest: &'a Digest) -> Answer<'a, Served>;

    /// A blob that should have this size. Its content is not compared with anything.
    fn blob<'a>(&'a self, digest: &'a Digest, size: u64) -> Answer<'a, Box<dyn Blob>>;
}

/// A blob as it comes.
pub trait Blob: Send {
    /// The next bytes; none at the end.
    fn chunk(&mut self) -> Answer<'_, Option<Bytes>>;

    /// Other places to get it from, after the bytes that came turned out to be the wrong ones.
    fn other_origin(&self) -> Option<Arc<dyn Origin>>;
}

/// A source's failure, whatever its kind.
pub struct SourceError(Box<dyn Classified>);

impl<E: Classified> From<E> for SourceError {
    fn from(error: E) -> Self {
        SourceError(Box::new(error))
    }
}

impl SourceError {
    pub fn class(&self) -> Class {
        self.0.class()
    }

    pub fn hint(&self) -> Option<String> {
        self.0.hint()
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl fmt::Debug for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Source for registry::Client {
    fn resolve<'a>(&'a self, reference: &'a Reference, credentials: Option<&'a Credentials>) -> Answer<'a, Resolved> {
        Box::pin(async move {
            let credentials = credentials.map(for_registry);
            let resolved = registry::Client::resolve(self, reference, credentials.as_ref()).await?;
            let origin = Arc::new(RegistryOrigin { client: self.clone(), source: resolved.source });
            let served = Served { media_type: resolved.media_type, bytes: resolved.bytes };
            Ok(Resolved { digest: resolved.digest, served, origin })
        })
    }

    fn current_digest<'a>(
        &'a self,
        reference: &'a Reference,
        credentials: Option<&'a Credentials>,
    ) -> Pin<Box<dyn Future<Output = Option<Digest>> + Send + 'a>> {
        Box::pin(async move {
            let credentials = credentials.map(for_registry);
            registry::Client::current_digest(self, reference, credentials.as_ref()).await
        })
    }

    fn explain<'a>(&'a self, reference: &'a Reference, credentials: Option<&'a Credentials>) -> Answer<'a, String> {
        Box::pin(async move {
            let credentials = credentials.map(for_registry);
            Ok(registry::Client::explain(self, reference, credentials.as_ref()).await?.to_string())
        })
    }
}

struct RegistryOrigin {
    client: registry::Client,
    source: registry::Source,
}

impl Origin for RegistryOrigin {
    fn manifest<'a>(&'a self, digest: &'a Digest) -> Answer<'a, Served> {
        Box::pin(async move {
            let manifest = self.client.manifest(&self.source, digest).await?;
            Ok(Served { media_type: manifest.media_type, bytes: manifest.bytes })
        })
    }

    fn blob<'a>(&'a self, digest: &'a Digest, size: u64) -> Answer<'a, Box<dyn Blob>> {
        Box::pin(async move {
            let stream = self.client.blob(&self.source, digest, size).await?;
            Ok(Box::new(RegistryBlob { client: self.client.clone(), stream }) as Box<dyn Blob>)
        })
    }
}

struct RegistryBlob {
    client: registry::Client,
    stream: registry::BlobStream,
}

impl Blob for RegistryBlob {
    fn chunk(&mut self) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move { Ok(self.stream.chunk().await?) })
    }

    fn other_origin(&self) -> Option<Arc<dyn Origin>> {
        let source = self.stream.other_source()?;
        Some(Arc::new(RegistryOrigin { client: self.client.clone(), source }))
    }
}

fn for_registry(credentials: &Credentials) -> registry::Credentials {
    registry::Credentials {
        username: credentials.username.clone(),
        password: credentials.password.clone(),
        auth: credentials.auth.clone(),
        identity_token: credentials.identity_token.clone(),
        registry_token: credentials.registry_token.clone(),
        server_address: credentials.server_address.clone(),
    }
}
