//! The store against a registry on loopback, honest and not.

mod archives;
mod artifacts;
mod containers;
mod copies;
mod crash;
mod durability;
mod hostile;
mod pulls;
mod versions;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cradle_registry::{Client, RegistryConfig};
use cradle_testkit::registry::{Behaviour, Registry, digest_of};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::database::Database;
use super::*;
pub use crate::tar::testing::{Archive, Made};
pub use crate::tree::tests::is_root;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A store, the registry it pulls from, and where both have their files.
pub struct World {
    pub registry: Registry,
    pub store: Option<Store>,
    pub folder: TempDir,
    pub config: StoreConfig,
}

impl World {
    pub fn new() -> Self {
        World::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut StoreConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config_at(folder.path());
        change(&mut config);
        let mut world = World { registry: Registry::start(), store: None, folder, config };
        world.open();
        world
    }

    /// Opens the store, after closing the one that is open: its memory is lost, as when the daemon is killed.
    pub fn open(&mut self) {
        self.close();
        let client = client_of(&self.registry, self.folder.path());
        self.store = Some(Store::open(self.config.clone(), client).unwrap());
    }

    /// Waits until the store is really closed, which its collector may put off.
    pub fn close(&mut self) {
        let Some(store) = self.store.take() else { return };
        drop(store);
        let disk = FileSystem::of(&self.config.root).unwrap();
        let open_database = || Database::open(&self.path("store.redb"), &disk);
        let is_free = || !matches!(open_database(), Err(DatabaseError::InUse { .. }));
        wait_until("the store is closed", is_free);
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub fn reference(&self, name: &str) -> Reference {
        Reference::parse(&format!("{}/{name}", self.registry.host())).unwrap()
    }

    pub async fn pull(&self, name: &str) -> Result<Arc<ImageView>, Failure> {
        self.pull_with(name, None).await
    }

    pub async fn pull_with(&self, name: &str, credentials: Option<Credentials>) -> Result<Arc<ImageView>, Failure> {
        self.store().pull(PullRequest { reference: self.reference(name), credentials, progress: None }).await
    }

    /// Begins a pull whose second layer never comes, and gives it up when the first is finished.
    pub async fn give_up_after_one_layer(&self, image: &TestImage, name: &str) {
        self.registry.misbehave(&digest_of(&image.layers[1].blob).to_string(), Behaviour::Silence);
        let layers = || self.store().inner.catalogue.layers().len();
        let before = layers();
        tokio::select! {
            _ = self.pull(name) => panic!("the registry is silent"),
            () = async {
                while layers() == before {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }

    /// Blobs asked for so far.
    pub fn blob_requests(&self) -> usize {
        self.registry.requests().iter().filter(|seen| seen.method == "GET" && seen.target.contains("/blobs/")).count()
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.config.root.join(below)
    }

    /// Layer folders on disk, without the empty one.
    pub fn layer_folders(&self) -> usize {
        std::fs::read_dir(self.path("layers")).unwrap().count() - 1
    }

    pub fn only_layer(&self) -> PathBuf {
        let layers = self.store().inner.catalogue.layers();
        assert_eq!(layers.len(), 1);
        layers[0].path.clone()
    }

    pub fn wait_for_empty_trash(&self) {
        wait_until("the trash is empty", || std::fs::read_dir(self.path("trash")).unwrap().count() == 0);
    }
}

/// How a store in `folder` behaves in tests.
pub fn config_at(folder: &Path) -> StoreConfig {
    let mut config = StoreConfig::new(folder.join("store"));
    config.platform = Platform { os: "linux".into(), architecture: "amd64".into(), variant: String::new() };
    config
}

/// An impatient client of a registry, its configuration in `folder`.
pub fn client_of(registry: &Registry, folder: &Path) -> Arc<Client> {
    let certs = folder.join("certs.d");
    let host = certs.join(registry.host());
    std::fs::create_dir_all(&host).unwrap();
    std::fs::write(host.join("hosts.toml"), format!("server = \"http://{}\"\n", registry.host())).unwrap();
    Arc::new(Client::new(RegistryConfig {
        config_path: Some(certs),
        backoff: Duration::from_millis(1),
        progress_timeout: Duration::from_secs(2),
        answer_timeout: Duration::from_secs(2),
        ..RegistryConfig::default()
    }))
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

pub fn container(byte: u8) -> ContainerId {
    ContainerId::from_random([byte; 32])
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A layer for an image in the making.
#[derive(Clone)]
pub struct TestLayer {
    pub archive: Vec<u8>,
    pub blob: Vec<u8>,
    pub media_type: &'static str,
}

impl TestLayer {
    pub fn of(entries: impl IntoIterator<Item = Made>) -> Self {
        let archive = Archive::of(entries);
        TestLayer { blob: gzip(&archive), archive, media_type: GZIP_LAYER }
    }
}

/// An image in the making.
pub struct TestImage {
    pub layers: Vec<TestLayer>,
    pub config: Value,
    pub manifest: Value,
}

impl TestImage {
    pub fn of(layers: impl IntoIterator<Item = TestLayer>) -> Self {
        let layers: Vec<TestLayer> = layers.into_iter().collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest_of(&layer.archive).to_string()).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let mut image = TestImage { layers, config, manifest: Value::Null };
        image.describe();
        image
    }

    /// Makes the manifest of the configuration and layers as they are.
    pub fn describe(&mut self) {
        let describe = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": digest_of(bytes).to_string(), "size": bytes.len()});
        let layers: Vec<Value> = self.layers.iter().map(|layer| describe(layer.media_type, &layer.blob)).collect();
        let config = describe(OCI_CONFIG, self.config.to_string().as_bytes());
        self.manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
    }

    /// Pushes all of it; answers with the manifest's digest.
    pub fn push(&self, registry: &Registry, repository: &str, tag: &str) -> Digest {
        for layer in &self.layers {
            registry.put_blob(layer.blob.clone());
        }
        registry.put_blob(self.config.to_string().into_bytes());
        registry.put_manifest(repository, tag, OCI_MANIFEST, self.manifest.to_string().into_bytes())
    }

    pub fn id(&self) -> Digest {
        digest_of(self.config.to_string().as_bytes())
    }
}

/// An image of layers that each have one file of their own.
pub fn image_with(files: &[&str]) -> TestImage {
    TestImage::of(files.iter().map(|file| TestLayer::of([Made::file(file, *file)])))
}

/// The inode of a file, to see whether it is the same one.
pub fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}
