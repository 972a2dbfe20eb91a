//! The client: resolves references and fetches manifests, host after host until one serves.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cradle_domain::{Class, Classified, Digest, Reference};
use http::{HeaderMap, HeaderValue, Method, header};
use sha2::Sha256;

use crate::ask::Ask;
use crate::blob::{BlobStream, FetchError};
use crate::credentials::Credentials;
use crate::endpoint::{ConfigurationError, Endpoint, Plan, plan};
use crate::explain::Explanation;
use crate::failure::{AllTried, HostFailure, Tried};
use crate::limits;
use crate::origin::Origin;
use crate::pool::Pool;
use crate::proxy::ProxySettings;
use crate::retry::Retries;
use crate::tls::TlsSetups;
use crate::tokens::Tokens;

/// Where the configuration is and how patient the client is. The files are read anew for each pull.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// The folder with a folder for each registry (containerd's `certs.d`).
    pub config_path: Option<PathBuf>,
    /// Credentials of the machine, as `docker login` writes them; it need not exist.
    pub docker_config: Option<PathBuf>,
    /// A transfer without progress for so long is given up.
    pub progress_timeout: Duration,
    /// A host must begin to answer a request for a manifest or a token within this time.
    pub answer_timeout: Duration,
    /// The pause before the first repetition of a failed request.
    pub backoff: Duration,
    pub proxy: ProxySettings,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        RegistryConfig {
            config_path: None,
            docker_config: None,
            progress_timeout: limits::PROGRESS_TIMEOUT,
            answer_timeout: limits::ANSWER_TIMEOUT,
            backoff: limits::BACKOFF_FIRST,
            proxy: ProxySettings::default(),
        }
    }
}

/// Speaks with registries. Cheap to clone; clones share connections and tokens.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) core: Arc<Core>,
}

/// What the clones of a client share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: RegistryConfig,
    pub(crate) pool: Arc<Pool>,
    pub(crate) tls: Arc<TlsSetups>,
    pub(crate) tokens: Tokens,
}

/// A reference's manifest or index.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Of `bytes`; it agrees with the reference and with the registry's header where these name one.
    pub digest: Digest,
    /// As in [`Manifest`].
    pub media_type: Option<String>,
    pub bytes: Bytes,
    /// For what the manifest names.
    pub source: Source,
}

/// A manifest or an index, with the digest that was asked for.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub digest: Digest,
    /// What the registry calls it, one of the media types of [`ACCEPTED`]; none if it says nothing that means something.
    /// The reader compares it with the `mediaType` in the bytes.
    pub media_type: Option<String>,
    pub bytes: Bytes,
}

/// The hosts of one image, the one that answered first, with the credentials for each.
#[derive(Clone)]
pub struct Source {
    pub(crate) endpoints: Arc<[Endpoint]>,
    /// Indices of `endpoints`.
    pub(crate) order: Vec<usize>,
}

impl Source {
    /// The host that is asked first.
    pub fn host(&self) -> Option<&Origin> {
        self.order.first().map(|at| &self.endpoints[*at].host.origin)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.order.iter().map(|at| self.endpoints[*at].host.origin.to_string());
        f.debug_list().entries(hosts).finish()
    }
}

/// A reference that was not resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("cannot look for {reference}")]
    Configuration { reference: Reference, source: ConfigurationError },
    #[error("no host of {registry} may be asked for {what}")]
    NoHost { registry: String, what: &'static str },
    #[error("no host served {reference}: {tried}")]
    Failed { reference: Reference, tried: AllTried },
}

impl Classified for ResolveError {
    fn class(&self) -> Class {
        match self {
            ResolveError::Configuration { source: ConfigurationError::Interrupted, .. } => Class::Unavailable,
            ResolveError::Configuration { .. } | ResolveError::NoHost { .. } => Class::Invalid,
            ResolveError::Failed { tried, .. } => tried.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ResolveError::Configuration { .. } => None,
            ResolveError::NoHost { .. } => Some("give a host in hosts.toml the capability".to_owned()),
            ResolveError::Failed { tried, .. } => tried.hint(),
        }
    }
}

/// The media types that are asked for: manifests and indexes of OCI and of docker's schema 2.
pub const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const ACCEPT: HeaderValue = HeaderValue::from_static(
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json",
);
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Client {
    pub fn new(config: RegistryConfig) -> Self {
        let core = Core { config, pool: Arc::default(), tls: Arc::default(), tokens: Tokens::default() };
        Client { core: Arc::new(core) }
    }

    /// Fetches what `reference` names. With a digest, any host that may serve content is asked; with a tag only those that
    /// are trusted to resolve one.
    pub async fn resolve(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Resolved, ResolveError> {
        let (endpoints, order) = self.hosts_for(reference, credentials).await?;
        let name = name_of(reference);
        match self.core.first_manifest(&endpoints, &order, name, reference.digest()).await {
            Ok((first, Manifest { digest, media_type, bytes })) => {
                tracing::debug!(%reference, %digest, host = %endpoints[first].host.origin, "resolved");
                let source = Source { order: content_order(&endpoints, first), endpoints: endpoints.into() };
                Ok(Resolved { digest, media_type, bytes, source })
            }
            Err(tried) => Err(ResolveError::Failed { reference: reference.clone(), tried }),
        }
    }

    /// The digest that a tag has at the moment, if a host answers that without sending the manifest (which registries that
    /// count pulls do not count). None: ask with [`Client::resolve`], which also knows the reasons.
    pub async fn current_digest(&self, reference: &Reference, credentials: Option<&Credentials>) -> Option<Digest> {
        let (endpoints, order) = self.hosts_for(reference, credentials).await.ok()?;
        let answer_within = self.core.config.answer_timeout;
        let name = name_of(reference);
        for at in order {
            let accept = Some(ACCEPT);
            let ask = Ask { method: Method::HEAD, kind: "manifests", name, accept, offset: 0, answer_within };
            match self.core.ask(&endpoints[at], &ask).await {
                Ok(response) => {
                    response.body.drained().await;
                    return content_digest(&response.head.headers);
                }
                Err(error) => tracing::debug!(host = %endpoints[at].host.origin, %error, "HEAD of a manifest failed"),
            }
        }
        None
    }

    /// Fetches a manifest that an index names.
    pub async fn manifest(&self, source: &Source, digest: &Digest) -> Result<Manifest, FetchError> {
        let found = self.core.first_manifest(&source.endpoints, &source.order, digest.as_str(), Some(digest)).await;
        let failed = |tried| FetchError::Failed { what: "manifest", digest: digest.clone(), tried };
        found.map(|(_, manifest)| manifest).map_err(failed)
    }

    /// Begins to fetch a blob of `size` bytes. The caller checks the digest.
    pub async fn blob(&self, source: &Source, digest: &Digest, size: u64) -> Result<BlobStream, FetchError> {
        BlobStream::begin(self.core.clone(), source.clone(), digest.clone(), size).await
    }

    /// What [`Client::resolve`] would do.
    pub async fn explain(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Explanation, ResolveError> {
        let Plan { endpoints, absent } = self.plan(reference, credentials).await?;
        Ok(Explanation::new(reference, &endpoints, absent, &self.core.config))
    }

    async fn hosts_for(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<(Vec<Endpoint>, Vec<usize>), ResolveError> {
        let Plan { endpoints, .. } = self.plan(reference, credentials).await?;
        let order: Vec<usize> = (0..endpoints.len()).filter(|at| may_resolve(&endpoints[*at], reference)).collect();
        if order.is_empty() {
            let what = if reference.digest().is_some() { "content (pull)" } else { "tags (resolve)" };
            return Err(ResolveError::NoHost { registry: reference.registry().to_owned(), what });
        }
        Ok((endpoints, order))
    }

    async fn plan(&self, reference: &Reference, credentials: Option<&Credentials>) -> Result<Plan, ResolveError> {
        let (core, credentials) = (self.core.clone(), credentials.cloned());
        let about = reference.clone();
        let made = tokio::task::spawn_blocking(move || plan(&core.config, &about, credentials.as_ref())).await;
        let made = made.unwrap_or(Err(ConfigurationError::Interrupted));
        made.map_err(|source| ResolveError::Configuration { reference: reference.clone(), source })
    }
}

/// What follows `manifests/` in a URL.
fn name_of(reference: &Reference) -> &str {
    reference.digest().map(Digest::as_str).or(reference.tag()).unwrap_or("latest")
}

/// Whether a host may be asked for what `reference` names: a digest can be checked, a tag must be believed.
pub(crate) fn may_resolve(endpoint: &Endpoint, reference: &Reference) -> bool {
    let capabilities = endpoint.host.capabilities;
    if reference.digest().is_some() { capabilities.pull } else { capabilities.resolve }
}

/// The hosts that serve content, `first` before the others.
fn content_order(endpoints: &[Endpoint], first: usize) -> Vec<usize> {
    let others = (0..endpoints.len()).filter(|at| *at != first);
    [first].into_iter().chain(others).filter(|at| endpoints[*at].host.capabilities.pull).collect()
}

impl Core {
    pub(crate) fn retries(&self) -> Retries {
        Retries::new(self.config.backoff)
    }

    /// The manifest from the first host of `order` that serves it, and that host.
    async fn first_manifest(
        &self,
        endpoints: &[Endpoint],
        order: &[usize],
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<(usize, Manifest), AllTried> {
        let mut tried = AllTried(Vec::new());
        for at in order {
            let endpoint = &endpoints[*at];
            let mut retries = self.retries();
            loop {
                let why = match self.manifest_from(endpoint, name, expected).await {
                    Ok(manifest) => return Ok((*at, manifest)),
                    Err(why) => why,
                };
                let Some(pause) = retries.failed(why.again()) else {
                    tried.0.push(Tried { host: endpoint.host.origin.clone(), why });
                    break;
                };
                tracing::debug!(host = %endpoint.host.origin, %why, ?pause, "asking again");
                tokio::time::sleep(pause).await;
            }
        }
        Err(tried)
    }

    async fn manifest_from(
        &self,
        endpoint: &Endpoint,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<Manifest, HostFailure> {
        let answer_within = self.config.answer_timeout;
        let ask = Ask { method: Method::GET, kind: "manifests", name, accept: Some(ACCEPT), offset: 0, answer_within };
        let response = self.ask(endpoint, &ask).await?;
        let media_type = media_type(&response.head.headers)?;
        let said = content_digest(&response.head.headers);
        let bytes = response.body.whole(limits::MANIFEST_MAX_BYTES, limits::SMALL_BODY_TIMEOUT).await?;
        let got = Digest::from_sha256(<Sha256 as sha2::Digest>::digest(&bytes).into());
        match (expected, said) {
            (Some(expected), _) if *expected != got => Err(HostFailure::Digest { expected: expected.clone(), got }),
            (None, Some(said)) if said != got => Err(HostFailure::HeaderDigest { said, got }),
            _ => Ok(Manifest { digest: got, media_type, bytes }),
        }
    }
}

/// The digest that a registry gives for its answer; one of another algorithm says nothing here.
fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(headers.get(CONTENT_DIGEST)?.to_str().ok()?).ok()
}

fn media_type(headers: &HeaderMap) -> Result<Option<String>, HostFailure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        known if ACCEPTED.contains(&known) => Ok(Some(essence)),
        // Plain file servers and some old registries; the bytes must tell.
        "" | "application/json" | "application/octet-stream" | "text/plain" => Ok(None),
        old if old.starts_with("application/vnd.docker.distribution.manifest.v1+") => Err(HostFailure::SchemaOne),
        other => Err(HostFailure::NotManifest(other.chars().take(limits::SAID_MAX_CHARS).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_one_of_ours_or_means_nothing_or_is_refused() {
        for (text, expected) in [
            (
                "application/vnd.oci.image.index.v1+json; charset=utf-8",
                Ok(Some("application/vnd.oci.image.index.v1+json")),
            ),
            ("Application/vnd.docker.distribution.manifest.v2+JSON", Ok(Some(ACCEPTED[2]))),
            ("application/json", Ok(None)),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", Err("schema 1")),
            ("text/html", Err("\"text/html\", which is no manifest")),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(text))]);
            match (media_type(&headers), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        assert!(matches!(media_type(&HeaderMap::new()), Ok(None)));
    }

    #[test]
    fn the_header_asks_for_every_accepted_type() {
        assert_eq!(ACCEPT.to_str().unwrap(), ACCEPTED.join(", "));
    }
}
