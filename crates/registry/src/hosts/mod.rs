//! Which hosts serve a registry's images: the mirrors of its `hosts.toml`, then the registry itself.
//!
//! The layout is containerd's: `<config_path>/<registry>/hosts.toml`, the folder named `host_port_`, `host:port` or
//! `host`, else `_default`; a folder without the file may hold docker's `*.crt`, `*.cert` and `*.key`. Everything is read
//! anew for each pull. Unlike there, a mistake in a file is an error and not a silent fallback, and `http://` always means
//! plain HTTP.

mod file;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderMap;

pub use file::{Mistake, parse};

use crate::limits;
use crate::origin::{Authority, Origin, Url};
use crate::proxy::Proxy;

/// A host that may be asked about the images of one registry.
#[derive(Debug, Clone)]
pub struct Host {
    pub origin: Origin,
    /// What comes before `/<repository>/manifests/…`, usually `/v2`; empty or with a leading and no trailing slash.
    pub path: String,
    pub capabilities: Capabilities,
    pub trust: Trust,
    pub headers: HeaderMap,
    pub dial_timeout: Duration,
    /// Overrides the proxy of the environment.
    pub proxy: Option<Proxy>,
    pub role: Role,
    pub declared: Declared,
}

impl Host {
    fn with_defaults(origin: Origin, role: Role, declared: Declared) -> Self {
        Host {
            origin,
            path: "/v2".to_owned(),
            capabilities: Capabilities::ALL,
            trust: Trust::default(),
            headers: HeaderMap::new(),
            dial_timeout: limits::DIAL_TIMEOUT,
            proxy: None,
            role,
            declared,
        }
    }
}

/// What a host is trusted to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Manifests and blobs by digest, which can be checked.
    pub pull: bool,
    /// Tags, which cannot.
    pub resolve: bool,
}

impl Capabilities {
    pub const ALL: Capabilities = Capabilities { pull: true, resolve: true };
}

/// Why a host is believed to be who it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// No certificate is checked.
    pub skip_verify: bool,
    /// Certificate authorities beside the system's.
    pub ca: Vec<PathBuf>,
    /// Certificate and key files with which the daemon shows who it is.
    pub client: Vec<(PathBuf, PathBuf)>,
}

/// What a host is to the registry: credentials for the registry go to the registry only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Mirror,
    Registry,
}

/// Why a host is in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// By a line of a `hosts.toml`.
    Line { file: PathBuf, line: usize },
    /// The registry itself, which a `hosts.toml` without `server` keeps as the last one.
    Implied { file: PathBuf },
    /// The registry itself, with the certificates of a folder.
    Certificates { folder: PathBuf },
    /// The registry itself, since nothing is configured for it.
    Unconfigured,
    /// A registry on the loopback interface, without configuration: tried with TLS, then without.
    Loopback,
}

impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Declared::Line { file, line } => write!(f, "{} line {line}", file.display()),
            Declared::Implied { file } => write!(f, "the registry itself, as {} names no server", file.display()),
            Declared::Certificates { folder } => {
                write!(f, "the registry itself, with the certificates in {}", folder.display())
            }
            Declared::Unconfigured => write!(f, "the registry itself, as nothing is configured for it"),
            Declared::Loopback => {
                write!(f, "a registry on this machine without configuration: TLS first, then plain http")
            }
        }
    }
}

/// The hosts of a registry in the order in which they are asked, and where that was looked up.
#[derive(Debug, Clone)]
pub struct HostList {
    pub hosts: Vec<Host>,
    /// Folders that would have been used and do not exist.
    pub absent: Vec<PathBuf>,
}

/// A configuration of hosts that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {limit} bytes", path = path.display(), limit = limits::HOSTS_FILE_MAX_BYTES)]
    TooLarge { path: PathBuf },
    #[error("{path}, line {line}: {what}", path = path.display(), line = mistake.line, what = mistake.what)]
    Mistake { path: PathBuf, mistake: Mistake },
}

/// Finds the hosts for `registry` beneath `config_path`.
pub fn lookup(config_path: Option<&Path>, registry: &str) -> Result<HostList, HostsError> {
    let mut absent = Vec::new();
    for folder in config_path.map_or_else(Vec::new, |root| folders(root, registry)) {
        if folder.try_exists().map_err(|source| HostsError::Read { path: folder.clone(), source })? {
            return Ok(HostList { hosts: in_folder(&folder, registry)?, absent });
        }
        absent.push(folder);
    }
    Ok(HostList { hosts: unconfigured(registry), absent })
}

fn folders(root: &Path, registry: &str) -> Vec<PathBuf> {
    let port = registry.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let with_underscores = port.map(|(host, port)| root.join(format!("{host}_{port}_")));
    with_underscores.into_iter().chain([root.join(registry), root.join("_default")]).collect()
}

fn in_folder(folder: &Path, registry: &str) -> Result<Vec<Host>, HostsError> {
    let path = folder.join("hosts.toml");
    let mut text = String::new();
    match File::open(&path) {
        Ok(file) => {
            let read = file.take(limits::HOSTS_FILE_MAX_BYTES + 1).read_to_string(&mut text);
            read.map_err(|source| HostsError::Read { path: path.clone(), source })?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return with_certificates(folder, registry),
        Err(source) => return Err(HostsError::Read { path, source }),
    }
    if text.len() as u64 > limits::HOSTS_FILE_MAX_BYTES {
        return Err(HostsError::TooLarge { path });
    }
    parse(&text, &path, registry).map_err(|mistake| HostsError::Mistake { path, mistake })
}

/// Docker's layout: `*.crt` are authorities, `NAME.cert` and `NAME.key` a client's certificate and its key.
fn with_certificates(folder: &Path, registry: &str) -> Result<Vec<Host>, HostsError> {
    let read = |source| HostsError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(read)? {
        files.push(entry.map_err(read)?.path());
    }
    files.sort();
    let with_extension = |wanted: &'static str| {
        files.iter().filter(move |file| file.extension().is_some_and(|extension| extension == wanted)).cloned()
    };
    let trust = Trust {
        skip_verify: false,
        ca: with_extension("crt").collect(),
        client: with_extension("cert")
            .map(|certificate| (certificate.clone(), certificate.with_extension("key")))
            .collect(),
    };
    if trust == Trust::default() {
        return Ok(unconfigured(registry));
    }
    let declared = Declared::Certificates { folder: folder.to_owned() };
    Ok(vec![Host { trust, ..registry_itself(registry, declared) }])
}

/// The hosts of a registry that no file speaks of: itself, by TLS. Only a registry on the loopback interface, whose bytes
/// never leave the machine, is tried without checking its certificate and then without TLS, as containerd does.
fn unconfigured(registry: &str) -> Vec<Host> {
    let host = registry_itself(registry, Declared::Unconfigured);
    let Origin::Https(authority) = &host.origin else { return vec![host] };
    if !is_loopback(&authority.host) {
        return vec![host];
    }
    let loopback = Host { declared: Declared::Loopback, dial_timeout: limits::LOOPBACK_DIAL_TIMEOUT, ..host.clone() };
    let plain = Host { origin: Origin::Http(authority.clone()), ..loopback.clone() };
    let guessed = Host { trust: Trust { skip_verify: true, ..Trust::default() }, ..loopback };
    match explicit_port(registry) {
        Some(80) => vec![plain],
        None | Some(443) => vec![guessed],
        Some(_) => vec![guessed, plain],
    }
}

fn registry_itself(registry: &str, declared: Declared) -> Host {
    Host::with_defaults(registry_origin(registry), Role::Registry, declared)
}

/// `docker.io` is a name only: its registry answers at registry-1.docker.io.
fn served_at(host: &str) -> &str {
    if host == "docker.io" || host == "index.docker.io" { "registry-1.docker.io" } else { host }
}

fn registry_origin(registry: &str) -> Origin {
    // A domain::Reference has checked the name; what a URL could not hold would fail when its host is looked up.
    let authority = Authority::parse(served_at(registry), 443)
        .unwrap_or_else(|_| Authority { host: registry.to_ascii_lowercase(), port: 443 });
    Origin::Https(authority)
}

fn explicit_port(registry: &str) -> Option<u16> {
    registry.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).filter(|_| !registry.ends_with(']'))
}

/// Whether a host is this machine by its name.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a host must be told which registry it stands for (`?ns=`).
pub(crate) fn needs_namespace(origin: &Origin, registry: &str) -> bool {
    matches!(origin, Origin::Unix(_)) || origin.authority() != registry_origin(registry).authority()
}

/// The URL of a host entry: `https://` where no scheme is given, `/v2` appended unless the path is overridden.
fn host_url(text: &str, path: ApiPath) -> Result<(Origin, String), crate::origin::BadUrl> {
    let url = if text.contains("://") { Url::parse(text)? } else { Url::parse(&format!("https://{text}"))? };
    let origin = match url.origin {
        Origin::Https(authority) => {
            Origin::Https(Authority { host: served_at(&authority.host).to_owned(), ..authority })
        }
        other => other,
    };
    let given = url.target.path().trim_end_matches('/');
    let path = match path {
        ApiPath::Given => given.to_owned(),
        ApiPath::Standard if given.ends_with("/v2") => given.to_owned(),
        ApiPath::Standard => format!("{given}/v2"),
    };
    Ok((origin, path))
}

/// Whether the path of a host's URL is all of the API's root (`override_path`) or what comes before its `/v2`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ApiPath {
    Given,
    Standard,
}

#[cfg(test)]
mod tests;
