//! What is asked, and of whom, for one image: its registry's hosts in order, each with the credentials that are for it.
//!
//! Credentials of a request are for the registry of the image's reference, or for the host that they name. A mirror is
//! someone else: it gets those that name it, or those that the machine's `config.json` has for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cradle_domain::Reference;
use tokio::sync::OnceCell;

use crate::client::RegistryConfig;
use crate::connect::Route;
use crate::credentials::{BadCredentials, Credentials, Secret, key_matches};
use crate::docker_config::{DockerConfig, DockerConfigError, Found};
use crate::failure::HostFailure;
use crate::hosts::{self, Host, HostsError, Role, Trust, needs_namespace};
use crate::origin::{BadUrl, Origin, Url};
use crate::proxy::ProxySettings;
use crate::tls::{TlsSetup, TlsSetups, TrustError};

/// A host, as it is asked about one repository.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    pub(crate) repository: String,
    /// The registry that a mirror stands for.
    pub(crate) namespace: Option<String>,
    pub(crate) identity: Identity,
    tls: OnceCell<Arc<TlsSetup>>,
    tls_elsewhere: OnceCell<Arc<TlsSetup>>,
}

/// Who asks.
pub(crate) enum Identity {
    Anonymous { why: String },
    Known { secret: Secret, fingerprint: [u8; 32], from: String },
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Identity {
    /// For people: what is sent and where it comes from, or why nothing is.
    pub(crate) fn describe(&self) -> String {
        match self {
            Identity::Anonymous { why } => format!("no credentials: {why}"),
            Identity::Known { secret, from, .. } => format!("{} from {from}", secret.kind()),
        }
    }
}

/// Configuration from which no plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("the hosts of {registry} are not known")]
    Hosts { registry: String, source: HostsError },
    #[error("the machine's registry credentials are not known")]
    DockerConfig { source: DockerConfigError },
    #[error("the credentials of the request cannot be used")]
    Credentials { source: BadCredentials },
    #[error("the task that reads the registry configuration did not end")]
    Interrupted,
}

/// The endpoints for an image.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) endpoints: Vec<Endpoint>,
    /// Folders of hosts that would have been used and do not exist.
    pub(crate) absent: Vec<PathBuf>,
}

/// Reads the configuration as it is now.
pub(crate) fn plan(
    config: &RegistryConfig,
    reference: &Reference,
    credentials: Option<&Credentials>,
) -> Result<Plan, ConfigurationError> {
    let registry = reference.registry();
    let list = hosts::lookup(config.config_path.as_deref(), registry)
        .map_err(|source| ConfigurationError::Hosts { registry: registry.to_owned(), source })?;
    let docker = match &config.docker_config {
        Some(path) => DockerConfig::load(path).map_err(|source| ConfigurationError::DockerConfig { source })?,
        None => DockerConfig::default(),
    };
    let secret = credentials.map(Credentials::secret).transpose();
    let secret = secret.map_err(|source| ConfigurationError::Credentials { source })?.flatten();
    let known = Known {
        reference,
        request: secret.as_ref().map(|secret| (secret, credentials.map_or("", |given| given.server_address.as_str()))),
        docker: &docker,
        docker_path: config.docker_config.as_deref().unwrap_or(Path::new("")),
    };
    let endpoint = |host: Host| Endpoint {
        repository: reference.repository().to_owned(),
        namespace: needs_namespace(&host.origin, registry).then(|| registry.to_owned()),
        identity: known.identity(&host),
        tls: OnceCell::new(),
        tls_elsewhere: OnceCell::new(),
        host,
    };
    Ok(Plan { endpoints: list.hosts.into_iter().map(endpoint).collect(), absent: list.absent })
}

/// The credentials that there are.
struct Known<'a> {
    reference: &'a Reference,
    /// The secret of the request and the server that it names.
    request: Option<(&'a Secret, &'a str)>,
    docker: &'a DockerConfig,
    docker_path: &'a Path,
}

impl Known<'_> {
    fn identity(&self, host: &Host) -> Identity {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        let authority = host.origin.authority();
        let is_registry = host.role == Role::Registry || !needs_namespace(&host.origin, registry);
        let known = |secret: &Secret, from: String| Identity::Known {
            secret: secret.clone(),
            fingerprint: secret.fingerprint(),
            from,
        };
        let mut why = "none are given for it".to_owned();
        if let Some((secret, server)) = self.request {
            let names = |host: &str| key_matches(server, host, repository).is_some();
            if (is_registry && (server.is_empty() || names(registry))) || (!server.is_empty() && names(&authority)) {
                return known(secret, "the request".to_owned());
            }
            why = format!("those of the request are for {}", if server.is_empty() { registry } else { server });
        }
        let names = is_registry.then_some(registry).into_iter().chain([authority.as_str()]);
        for name in names {
            let file = self.docker_path.display();
            match self.docker.find(name, repository) {
                Found::Entry { key, credentials } => match credentials.secret() {
                    Ok(Some(secret)) => return known(&secret, format!("{key:?} in {file}")),
                    Ok(None) => (),
                    Err(BadCredentials) => why = format!("{key:?} in {file} is not a user name and password"),
                },
                Found::Helper(helper) => {
                    why = format!("{file} names the credential helper {helper:?}, which is not run")
                }
                Found::Nothing => (),
            }
        }
        Identity::Anonymous { why }
    }
}

impl Endpoint {
    /// The URL of a manifest or blob.
    pub(crate) fn url(&self, kind: &str, name: &str) -> Result<Url, BadUrl> {
        let base = Url { origin: self.host.origin.clone(), target: http::uri::PathAndQuery::from_static("/") };
        let url = base.join(&format!("{}/{}/{kind}/{name}", self.host.path, self.repository))?;
        match &self.namespace {
            Some(registry) => url.with_query("ns", registry),
            None => Ok(url),
        }
    }

    /// What a token must allow, where the registry does not say.
    pub(crate) fn scope(&self) -> String {
        format!("repository:{}:pull", self.repository)
    }

    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        match &self.identity {
            Identity::Anonymous { .. } => [0; 32],
            Identity::Known { fingerprint, .. } => *fingerprint,
        }
    }

    /// How `origin` is reached on behalf of this host. Its authorities are believed there too (a registry and its token
    /// server or storage often share one), but its client certificate is shown to the host alone.
    pub(crate) async fn route(
        &self,
        origin: &Origin,
        setups: &Arc<TlsSetups>,
        proxies: &ProxySettings,
    ) -> Result<Route, HostFailure> {
        let trust = &self.host.trust;
        let tls = if !origin.is_secure() {
            None
        } else if *origin == self.host.origin || trust.client.is_empty() {
            Some(self.tls.get_or_try_init(|| make(setups, trust.clone())).await)
        } else {
            let trust = Trust { client: Vec::new(), ..trust.clone() };
            Some(self.tls_elsewhere.get_or_try_init(|| make(setups, trust)).await)
        };
        let proxy = self.host.proxy.as_ref().or_else(|| proxies.on_the_way_to(origin)).cloned();
        Ok(Route {
            origin: origin.clone(),
            tls: tls.transpose().map_err(HostFailure::Trust)?.cloned(),
            proxy,
            dial_timeout: self.host.dial_timeout,
        })
    }
}

async fn make(setups: &Arc<TlsSetups>, trust: Trust) -> Result<Arc<TlsSetup>, TrustError> {
    let setups = setups.clone();
    tokio::task::spawn_blocking(move || setups.setup(&trust)).await.unwrap_or(Err(TrustError::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(hosts_toml: &str, config_json: &str, credentials: &Credentials) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("certs.d/r.example");
        std::fs::create_dir_all(&hosts).unwrap();
        std::fs::write(hosts.join("hosts.toml"), hosts_toml).unwrap();
        let docker_config = folder.path().join("config.json");
        std::fs::write(&docker_config, config_json).unwrap();
        let config = RegistryConfig {
            config_path: Some(folder.path().join("certs.d")),
            docker_config: Some(docker_config.clone()),
            ..RegistryConfig::default()
        };
        let plan = plan(&config, &Reference::parse("r.example/team/app:1").unwrap(), Some(credentials)).unwrap();
        let file = docker_config.display().to_string();
        plan.endpoints.iter().map(|endpoint| endpoint.identity.describe().replace(&file, "FILE")).collect()
    }

    fn user(server_address: &str) -> Credentials {
        Credentials { username: "u".into(), server_address: server_address.into(), ..Credentials::default() }
    }

    const MIRROR: &str = "[host.\"https://mirror:5000\"]\n";

    #[test]
    fn credentials_of_a_request_go_to_the_registry_or_to_the_host_they_name() {
        let from_request = "a password from the request";
        for (server, mirror, registry) in [
            ("", "no credentials: those of the request are for r.example", from_request),
            (
                "https://r.example/v2/",
                "no credentials: those of the request are for https://r.example/v2/",
                from_request,
            ),
            ("mirror:5000", from_request, "no credentials: those of the request are for mirror:5000"),
            (
                "other",
                "no credentials: those of the request are for other",
                "no credentials: those of the request are for other",
            ),
        ] {
            assert_eq!(described(MIRROR, "{}", &user(server)), [mirror, registry], "{server:?}");
        }
    }

    #[test]
    fn a_mirror_entry_for_the_registry_itself_is_the_registry() {
        let shown = described("[host.\"https://r.example\"]\n", "{}", &user(""));
        assert_eq!(shown, ["a password from the request"]);
        let shown = described("server = \"https://replaced\"", "{}", &user(""));
        assert_eq!(shown, ["a password from the request"]);
    }

    #[test]
    fn the_machines_credentials_are_found_for_each_host() {
        let config = r#"{"auths": {"mirror:5000": {"username": "m"}, "r.example/team": {"identitytoken": "t"}}}"#;
        let shown = described(MIRROR, config, &Credentials::default());
        assert_eq!(
            shown,
            ["a password from \"mirror:5000\" in FILE", "an identity token from \"r.example/team\" in FILE"]
        );
        let shown = described(MIRROR, config, &user(""));
        assert_eq!(shown[1], "a password from the request", "a request goes before the machine");
        let shown = described(MIRROR, r#"{"credHelpers": {"mirror:5000": "ecr-login"}}"#, &Credentials::default());
        assert_eq!(shown[0], "no credentials: FILE names the credential helper \"ecr-login\", which is not run");
        assert_eq!(shown[1], "no credentials: none are given for it");
    }

    #[test]
    fn urls_name_the_registry_that_a_mirror_stands_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("r.example_5000_")).unwrap();
        let text = "[host.\"https://m/p/\"]\n[host.\"https://n/own\"]\noverride_path = true\n[host.\"unix:///s\"]\n";
        std::fs::write(folder.path().join("r.example_5000_/hosts.toml"), text).unwrap();
        let config = RegistryConfig { config_path: Some(folder.path().to_owned()), ..RegistryConfig::default() };
        let plan = plan(&config, &Reference::parse("r.example:5000/a/b").unwrap(), None).unwrap();
        let urls = plan.endpoints.iter().map(|endpoint| endpoint.url("manifests", "latest").unwrap());
        let urls: Vec<_> = urls.map(|url| format!("{}{}", url.origin, url.target)).collect();
        let expected = [
            "https://m/p/v2/a/b/manifests/latest?ns=r.example:5000",
            "https://n/own/a/b/manifests/latest?ns=r.example:5000",
            "unix:///s/v2/a/b/manifests/latest?ns=r.example:5000",
            "https://r.example:5000/v2/a/b/manifests/latest",
        ];
        assert_eq!(urls, expected);
    }
}
