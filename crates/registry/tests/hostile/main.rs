//! The client against registries that misbehave: one file for each part of it.

mod auth;
mod blob;
mod resolve;
mod route;
mod tls;

use std::path::Path;
use std::time::Duration;

use cradle_domain::Reference;
use cradle_registry::{Client, Credentials, RegistryConfig, ResolveError, Resolved, Source};
use cradle_testkit::registry::{Digest, Registry};
use tempfile::TempDir;

/// The image that all tests are about.
const IMAGE: &str = "r.example/team/app:1";
const REPOSITORY: &str = "team/app";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const MANIFEST: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;

/// Configuration of a client in a folder of its own, impatient where a test would otherwise wait.
struct Setup {
    folder: TempDir,
    config: RegistryConfig,
}

impl Setup {
    /// The hosts of r.example as the text of a `hosts.toml`.
    fn new(hosts_toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = RegistryConfig {
            config_path: Some(folder.path().join("certs.d")),
            docker_config: Some(folder.path().join("config.json")),
            progress_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            backoff: Duration::from_millis(1),
            ..RegistryConfig::default()
        };
        let setup = Setup { folder, config };
        setup.file("certs.d/r.example/hosts.toml", hosts_toml);
        setup
    }

    /// The registry of the images is this one.
    fn with_server(registry: &Registry) -> Self {
        Setup::new(&format!("server = {:?}", registry.url()))
    }

    /// Writes a file beneath the folder.
    fn file(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn client(&self) -> Client {
        Client::new(self.config.clone())
    }

    async fn resolve(&self) -> Result<Resolved, ResolveError> {
        self.client().resolve(&image(), None).await
    }
}

fn image() -> Reference {
    Reference::parse(IMAGE).unwrap()
}

fn password(user_and_password: &str) -> Credentials {
    let (username, password) = user_and_password.split_once(':').unwrap();
    Credentials { username: username.into(), password: password.into(), ..Credentials::default() }
}

/// A registry that serves the image.
fn registry() -> Registry {
    let registry = Registry::start();
    put_image(&registry);
    registry
}

fn put_image(registry: &Registry) -> Digest {
    registry.put_manifest(REPOSITORY, "1", OCI_MANIFEST, MANIFEST)
}

/// Bytes that differ at every place, so that a wrong splice shows.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 8).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Fetches a whole blob.
async fn fetch(
    client: &Client,
    source: &Source,
    digest: &Digest,
    size: u64,
) -> Result<Vec<u8>, cradle_registry::FetchError> {
    let mut stream = client.blob(source, digest, size).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
