//! The configuration: what can be set, what it is unless it is set, and where that is said.
//!
//! [`KEYS`] is the one list of everything that can be set. A key is a line of the TOML file and, by the same name, a
//! flag; a flag counts more than the file, and the file more than the default.

mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod nearest;
mod value;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cradle_domain::{Class, Classified};
use cradle_network::bridge::subnet::Subnet;

pub use file::FileError;
pub use value::{Bounded, CgroupPath, Format, InterfaceName, LogFilter, Setting, Value};

/// Where the file is looked for when no flag names one; it need not exist then.
pub const DEFAULT_FILE: &str = "/etc/cradle/config.toml";

/// The subnet of the pods of a node that stands alone.
const DEFAULT_SUBNET: &str = "10.88.0.0/16";

/// Everything that the operator can choose.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub root: PathBuf,
    pub state: PathBuf,
    pub socket: PathBuf,
    pub shim: PathBuf,
    pub log: Log,
    pub containers: Containers,
    pub registry: Registry,
    pub images: Images,
    pub network: Network,
    pub streaming: Streaming,
    pub metrics: Metrics,
    pub cgroup: Cgroup,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    pub level: LogFilter,
    pub format: Format,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Containers {
    pub log_line_max_bytes: Bounded<256, 1_048_576>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    pub config_path: PathBuf,
    pub docker_config: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    pub parallel_layers: Bounded<1, 32>,
    pub keep_blobs: bool,
    pub max_unpacked_bytes: Bounded<1_048_576, { i64::MAX as u64 }>,
    pub pinned: Vec<String>,
    pub progress_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    pub bridge: InterfaceName,
    pub subnets: Vec<Subnet>,
    pub masquerade: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Streaming {
    pub address: IpAddr,
    pub port: Bounded<0, 65_535>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub idle_timeout: Duration,
    pub stream_creation_timeout: Duration,
    pub handshake_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    pub address: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Cgroup {
    pub root: CgroupPath,
}

/// One thing that can be set.
pub struct Key {
    /// Its full name in the file, which is also the flag's.
    pub name: &'static str,
    pub help: &'static str,
    /// What stands for its value in the help.
    pub placeholder: &'static str,
    get: fn(&Config) -> Value,
    set: fn(&mut Config, Value) -> Result<(), String>,
    read: fn(&str) -> Result<Value, String>,
}

macro_rules! key {
    ($name:literal, $($field:ident).+, $help:literal) => {
        Key {
            name: $name,
            help: $help,
            placeholder: placeholder(|config| &config.$($field).+),
            get: |config| config.$($field).+.to_value(),
            set: |config, value| {
                config.$($field).+ = Setting::from_value(value)?;
                Ok(())
            },
            read: reader(|config| &config.$($field).+),
        }
    };
}

/// Everything that can be set.
pub const KEYS: &[Key] = &[
    key!("root", root, "Folder of images, snapshots and leases; survives a reboot"),
    key!("state", state, "Folder of pods and containers; gone after a reboot"),
    key!("socket", socket, "Socket that the kubelet and crictl connect to"),
    key!("shim", shim, "Program that holds a pod; unless it is set, cradle-shim beside cradled"),
    key!("log.level", log.level, "What is logged: a level, or directives as \"info,cradle_engine=debug\""),
    key!("log.format", log.format, "How it is logged: text or json"),
    key!(
        "containers.log_line_max_bytes",
        containers.log_line_max_bytes,
        "Longest line of a container's log before it is split"
    ),
    key!("registry.config_path", registry.config_path, "Folder of hosts.toml files, one folder a registry (certs.d)"),
    key!("registry.docker_config", registry.docker_config, "Credentials in the form of docker's config.json"),
    key!(
        "images.parallel_layers",
        images.parallel_layers,
        "Layers that are fetched and unpacked at once, over all pulls"
    ),
    key!(
        "images.keep_blobs",
        images.keep_blobs,
        "Keep compressed layers after they are unpacked, as cradle save needs them"
    ),
    key!("images.max_unpacked_bytes", images.max_unpacked_bytes, "Most bytes that one layer may unpack to"),
    key!("images.pinned", images.pinned, "Images that garbage collection must spare, with * for any text"),
    key!("images.progress_timeout", images.progress_timeout, "A pull that receives nothing for so long is given up"),
    key!("network.bridge", network.bridge, "Bridge that pods are connected to; made when it is missing"),
    key!("network.subnets", network.subnets, "Subnets that pods get addresses from"),
    key!("network.masquerade", network.masquerade, "Hide pods' addresses from the world outside"),
    key!("streaming.address", streaming.address, "Address on which clients get exec, attach and port-forward"),
    key!("streaming.port", streaming.port, "Port for that; 0: one that is free"),
    key!(
        "streaming.tls_certificate",
        streaming.tls_certificate,
        "Certificate in PEM form for TLS, read again when it changes"
    ),
    key!("streaming.tls_key", streaming.tls_key, "Its key"),
    key!("streaming.idle_timeout", streaming.idle_timeout, "A session in which nothing moves for so long is ended"),
    key!(
        "streaming.stream_creation_timeout",
        streaming.stream_creation_timeout,
        "A client must have opened its streams after so long"
    ),
    key!(
        "streaming.handshake_timeout",
        streaming.handshake_timeout,
        "A client must have sent its request after so long, and before that its part of TLS's handshake"
    ),
    key!(
        "metrics.address",
        metrics.address,
        "Address and port on which GET /metrics tells Prometheus how the node fares; empty: none"
    ),
    key!("cgroup.root", cgroup.root, "Control group of pods whose request names none"),
];

const fn placeholder<T: Setting>(_: fn(&Config) -> &T) -> &'static str {
    T::PLACEHOLDER
}

const fn reader<T: Setting>(_: fn(&Config) -> &T) -> fn(&str) -> Result<Value, String> {
    T::read_flag
}

/// A configuration that cannot be used. The program ends with code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration")]
    File(#[source] FileError),
    #[error("flag --{flag}: {why}")]
    Flag { flag: &'static str, why: String },
    #[error("root and state are both {}, and must be two folders", folder.display())]
    SameFolder { folder: PathBuf },
    #[error("streaming.tls_certificate and streaming.tls_key: one is set, and the other is not")]
    HalfCertificate,
}

impl Classified for ConfigError {
    fn class(&self) -> Class {
        Class::Invalid
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            root: PathBuf::from("/var/lib/cradle"),
            state: PathBuf::from("/run/cradle"),
            socket: PathBuf::from("/run/cradle/cradle.sock"),
            shim: beside_own_program("cradle-shim"),
            log: Log { level: LogFilter::info(), format: Format::Text },
            containers: Containers { log_line_max_bytes: Bounded(16 * 1024) },
            registry: Registry { config_path: PathBuf::from("/etc/cradle/certs.d"), docker_config: None },
            images: Images {
                parallel_layers: Bounded(8),
                keep_blobs: false,
                max_unpacked_bytes: Bounded(64 << 30),
                pinned: Vec::new(),
                progress_timeout: Duration::from_secs(300),
            },
            network: Network {
                bridge: InterfaceName::cradle0(),
                subnets: DEFAULT_SUBNET.parse().into_iter().collect(),
                masquerade: true,
            },
            streaming: Streaming {
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                port: Bounded(0),
                tls_certificate: None,
                tls_key: None,
                idle_timeout: cradle_streaming::limits::IDLE_TIMEOUT,
                stream_creation_timeout: cradle_streaming::limits::STREAM_CREATION_TIMEOUT,
                handshake_timeout: cradle_streaming::limits::HANDSHAKE_TIMEOUT,
            },
            metrics: Metrics { address: None },
            cgroup: Cgroup { root: CgroupPath::cradle() },
        }
    }
}

/// A program in the folder of this one.
fn beside_own_program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/cradled"));
    own.with_file_name(name)
}

impl Config {
    /// The defaults, changed by the file, changed by the flags. Without `file` the default one is read if it exists.
    pub fn load(file: Option<&Path>, flags: &[(&'static Key, String)]) -> Result<Self, ConfigError> {
        let mut config = Config::default();
        let (path, optional) = file.map_or((Path::new(DEFAULT_FILE), true), |path| (path, false));
        file::read(path, optional, &mut config).map_err(ConfigError::File)?;
        for (key, text) in flags {
            let value = (key.read)(text);
            let set = value.and_then(|value| (key.set)(&mut config, value));
            set.map_err(|why| ConfigError::Flag { flag: key.name, why })?;
        }
        if config.root == config.state {
            return Err(ConfigError::SameFolder { folder: config.root });
        }
        if config.streaming.tls_certificate.is_some() != config.streaming.tls_key.is_some() {
            return Err(ConfigError::HalfCertificate);
        }
        Ok(config)
    }

    /// Every key with its value, in the order of [`KEYS`].
    pub fn values(&self) -> impl Iterator<Item = (&'static Key, Value)> {
        KEYS.iter().map(|key| (key, (key.get)(self)))
    }

    /// The names of the keys whose values differ.
    pub fn differences(&self, other: &Config) -> Vec<&'static str> {
        KEYS.iter().filter(|key| (key.get)(self) != (key.get)(other)).map(|key| key.name).collect()
    }

    /// The configuration as a file that says it.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for (key, value) in self.values() {
            let (table, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            if table != section {
                text.push_str(&format!("\n[{table}]\n"));
                section = table;
            }
            text.push_str(&format!("# {}\n{name} = {value}\n", key.help));
        }
        text
    }

    /// The configuration for programs: values by key.
    pub fn to_json(&self) -> serde_json::Value {
        self.values()
            .map(|(key, value)| (key.name.to_owned(), value.to_json()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

#[cfg(test)]
mod tests;
