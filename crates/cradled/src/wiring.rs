//! Puts the crates together: registry → images → engine, with network, records and shims at its sides.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use cradle_cri::{Edge, Facts};
use cradle_domain::{Class, Failure};
use cradle_engine::ports::{Images, Ports, UserNamespaceSupport};
use cradle_engine::shims::Launcher;
use cradle_engine::{Engine, Settings};
use cradle_images::{Store, StoreConfig};
use cradle_network::bridge::Bridge;
use cradle_network::bridge::config::BridgeConfig;
use cradle_registry::{ProxySettings, RegistryConfig};
use cradle_streaming::{CertificateFiles, Server};
use tokio::runtime::Handle;
use tracing::warn;

use crate::config::Config;
use crate::metrics::Server as Metrics;

/// The group of the shims, below that of the pods without a parent: out of the daemon's group, so that restarting the
/// service takes no pod along, and in none of a pod's.
const SHIMS_GROUP: &str = "shims";

/// What the daemon is made of.
pub struct Wired {
    pub edge: Edge,
    /// Serves the URLs that `edge` gives out.
    pub streaming: Server,
    /// Where the configuration wants it.
    pub metrics: Option<Metrics>,
    /// To be closed at the end.
    pub bridge: Bridge,
}

/// Opens everything and finds the pods of an earlier daemon again.
pub async fn wire(config: &Config, work: Handle) -> Result<Wired, Failure> {
    let machine = cradle_executor::plan::Facts::read()?;
    for warning in &machine.warnings {
        warn!("{warning}");
    }
    let boot_id = kernel_line("/proc/sys/kernel/random/boot_id")?;
    let registry = cradle_registry::Client::new(RegistryConfig {
        config_path: Some(config.registry.config_path.clone()),
        docker_config: config.registry.docker_config.clone(),
        progress_timeout: config.images.progress_timeout,
        proxy: ProxySettings::from_environment()?,
        ..RegistryConfig::default()
    });
    let shims_group = format!("{}/{SHIMS_GROUP}", config.cgroup.root.as_str());
    let shims = Launcher::open(&config.shim, &config.state, shims_group, machine.layout.clone())?;
    let user_namespaces = shims.probe_user_namespaces(&config.root).await;
    tell(&user_namespaces);
    let store_config = store_config(config, user_namespaces.clone());
    let images: Arc<dyn Images> = Arc::new(Store::open(store_config, Arc::new(registry))?);
    let bridge = Bridge::new(BridgeConfig {
        bridge: config.network.bridge.as_str().to_owned(),
        subnets: config.network.subnets.clone(),
        leases_dir: config.root.join("leases"),
        mtu: None,
        masquerade: config.network.masquerade,
        boot_id: boot_id.clone(),
    })?;
    let records = cradle_records::Store::open(&config.state, &boot_id)?;
    let ports = Ports {
        records: Arc::new(records),
        images: images.clone(),
        network: Arc::new(bridge.clone()),
        shims: Arc::new(shims),
    };
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION"),
        config: config.to_json(),
        recursive_read_only_mounts: machine.mount_attributes,
        user_namespaces: !matches!(user_namespaces, UserNamespaceSupport::Impossible { .. }),
        systemd_cgroups: machine.layout.is_kept_by_systemd(),
    };
    let settings = Settings {
        cgroup_root: config.cgroup.root.as_str().to_owned(),
        log_line_max_bytes: u32::try_from(config.containers.log_line_max_bytes.0).unwrap_or(u32::MAX),
        state: config.state.clone(),
        facts: machine,
        hostname: kernel_line("/proc/sys/kernel/hostname")?,
        resolv_conf: Path::new("/etc/resolv.conf").to_owned(),
        user_namespaces,
    };
    let engine = Engine::start(ports, settings).await?;
    let (server, urls) = Server::bind(streaming_config(config), engine.clone()).await?;
    let metrics = match config.metrics.address {
        Some(address) => Some(Metrics::bind(address, engine.clone(), images.clone()).await?),
        None => None,
    };
    let edge = Edge { engine, images, streaming: urls, work, facts: Arc::new(facts) };
    Ok(Wired { edge, streaming: server, metrics, bridge })
}

fn tell(user_namespaces: &UserNamespaceSupport) {
    match user_namespaces {
        UserNamespaceSupport::Mapped => {}
        UserNamespaceSupport::Copied { why } => {
            warn!(
                why,
                "each container of a pod with a user namespace gets a copy of its image, which takes time and space"
            );
        }
        UserNamespaceSupport::Impossible { why } => warn!("pods cannot have user namespaces on this machine: {why}"),
    }
}

fn store_config(config: &Config, user_namespaces: UserNamespaceSupport) -> StoreConfig {
    StoreConfig {
        parallel_layers: usize::try_from(config.images.parallel_layers.0).unwrap_or(usize::MAX),
        keep_blobs: config.images.keep_blobs,
        max_unpacked_bytes: config.images.max_unpacked_bytes.0,
        pinned: config.images.pinned.clone(),
        user_namespaces,
        ..StoreConfig::new(config.root.clone())
    }
}

fn streaming_config(config: &Config) -> cradle_streaming::Config {
    let streaming = &config.streaming;
    let files = streaming.tls_certificate.clone().zip(streaming.tls_key.clone());
    cradle_streaming::Config {
        address: SocketAddr::new(streaming.address, u16::try_from(streaming.port.0).unwrap_or_default()),
        certificate: files.map(|(certificate, key)| CertificateFiles { certificate, key }),
        idle_timeout: streaming.idle_timeout,
        stream_creation_timeout: streaming.stream_creation_timeout,
        handshake_timeout: streaming.handshake_timeout,
    }
}

/// A file of the kernel that has one line.
fn kernel_line(path: &str) -> Result<String, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) => Err(Failure::new(Class::Unavailable, format!("cannot read {path}: {error}"))),
    }
}
