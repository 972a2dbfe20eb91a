//! Says which hosts would be asked for an image, in which order, with which trust and credentials, and why: for
//! `cradle registry explain`.

use std::fmt;
use std::path::PathBuf;

use cradle_domain::Reference;

use crate::client::{RegistryConfig, may_resolve};
use crate::endpoint::Endpoint;
use crate::hosts::{Role, Trust};
use crate::origin::Origin;

/// The plan for one reference, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub reference: Reference,
    /// Folders of configuration that were looked for and do not exist.
    pub absent: Vec<PathBuf>,
    /// In the order in which they are asked.
    pub hosts: Vec<ExplainedHost>,
}

/// One host of a plan, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedHost {
    pub origin: Origin,
    pub role: Role,
    /// The file and line, or the rule, that put it there.
    pub because: String,
    /// What it would be asked for this reference.
    pub asked_for: String,
    pub trust: String,
    pub credentials: String,
    pub proxy: Option<String>,
}

impl Explanation {
    pub(crate) fn new(
        reference: &Reference,
        endpoints: &[Endpoint],
        absent: Vec<PathBuf>,
        config: &RegistryConfig,
    ) -> Self {
        let host = |endpoint: &Endpoint| ExplainedHost {
            origin: endpoint.host.origin.clone(),
            role: endpoint.host.role,
            because: endpoint.host.declared.to_string(),
            asked_for: asked_for(endpoint, reference),
            trust: trust(&endpoint.host.origin, &endpoint.host.trust),
            credentials: credentials(endpoint),
            proxy: proxy(endpoint, config),
        };
        Explanation { reference: reference.clone(), absent, hosts: endpoints.iter().map(host).collect() }
    }
}

fn asked_for(endpoint: &Endpoint, reference: &Reference) -> String {
    let name = reference.digest().map(ToString::to_string).or_else(|| reference.tag().map(str::to_owned));
    let url = endpoint.url("manifests", &name.unwrap_or_default());
    let url = url.map_or_else(|error| error.to_string(), |url| format!("{}{}", url.origin, url.target));
    let blobs =
        if endpoint.host.capabilities.pull { "manifests by digest and blobs" } else { "no content (no \"pull\")" };
    match (may_resolve(endpoint, reference), reference.digest().is_some()) {
        (true, _) => format!("{url}, {blobs}"),
        (false, true) => blobs.to_owned(),
        (false, false) => format!("not the tag (no \"resolve\"), {blobs}"),
    }
}

fn trust(origin: &Origin, trust: &Trust) -> String {
    match origin {
        Origin::Http(_) => return "none: plain http".to_owned(),
        Origin::Unix(_) => return "a socket of this machine".to_owned(),
        Origin::Https(_) if trust.skip_verify => return "none: certificates are not verified".to_owned(),
        Origin::Https(_) => (),
    }
    let files =
        |files: Vec<&PathBuf>| files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut text = "the system's authorities".to_owned();
    if !trust.ca.is_empty() {
        text.push_str(" and ");
        text.push_str(&files(trust.ca.iter().collect()));
    }
    if !trust.client.is_empty() {
        text.push_str("; shows the certificate in ");
        text.push_str(&files(trust.client.iter().map(|(certificate, _)| certificate).collect()));
    }
    text
}

fn credentials(endpoint: &Endpoint) -> String {
    let described = endpoint.identity.describe();
    if endpoint.host.headers.contains_key(http::header::AUTHORIZATION) {
        return format!("an authorization header from the same file; {described}");
    }
    described
}

fn proxy(endpoint: &Endpoint, config: &RegistryConfig) -> Option<String> {
    match &endpoint.host.proxy {
        Some(proxy) => Some(format!("{proxy}, as hosts.toml says")),
        None => {
            let proxy = config.proxy.on_the_way_to(&endpoint.host.origin)?;
            Some(format!("{proxy}, as the daemon's environment says"))
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.reference)?;
        for folder in &self.absent {
            writeln!(f, "  {} does not exist", folder.display())?;
        }
        for (at, host) in self.hosts.iter().enumerate() {
            let role = match host.role {
                Role::Mirror => "mirror",
                Role::Registry => "registry",
            };
            writeln!(f, "{}. {} ({role})", at + 1, host.origin)?;
            writeln!(f, "   because      {}", host.because)?;
            writeln!(f, "   asked for    {}", host.asked_for)?;
            writeln!(f, "   trust        {}", host.trust)?;
            writeln!(f, "   credentials  {}", host.credentials)?;
            if let Some(proxy) = &host.proxy {
                writeln!(f, "   proxy        {proxy}")?;
            }
        }
        Ok(())
    }
}
