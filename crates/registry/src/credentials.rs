//! Credentials: those of a request (CRI `AuthConfig`), and for which host they are.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// Credentials as the CRI's `AuthConfig` and docker's `config.json` hold them; empty fields count as absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// Base64 of `username:password`.
    pub auth: String,
    /// Exchanged for access tokens at the registry's token server.
    pub identity_token: String,
    /// Sent to the registry as it is.
    pub registry_token: String,
    /// The registry that they are for; empty: the one of the image's reference.
    pub server_address: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(of {:?} for {:?}, secrets not shown)", self.username, self.server_address)
    }
}

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the field `auth` of the credentials is not base64 of \"username:password\"")]
pub struct BadCredentials;

/// What proves who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// `username:password`.
    Password {
        user_and_password: String,
    },
    IdentityToken(String),
    RegistryToken(String),
}

impl Secret {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Secret::Password { .. } => "a password",
            Secret::IdentityToken(_) => "an identity token",
            Secret::RegistryToken(_) => "a registry token",
        }
    }

    /// Tells secrets apart in the keys of caches without being one.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let text = match self {
            Secret::Password { user_and_password } => user_and_password,
            Secret::IdentityToken(token) | Secret::RegistryToken(token) => token,
        };
        Sha256::new().chain_update(self.kind()).chain_update(text).finalize().into()
    }
}

impl Credentials {
    /// The most specific of the fields that are set; none if all are empty, which kubelets send as well.
    pub(crate) fn secret(&self) -> Result<Option<Secret>, BadCredentials> {
        if !self.registry_token.is_empty() {
            return Ok(Some(Secret::RegistryToken(self.registry_token.clone())));
        }
        if !self.identity_token.is_empty() {
            return Ok(Some(Secret::IdentityToken(self.identity_token.clone())));
        }
        if !self.username.is_empty() {
            return Ok(Some(Secret::Password { user_and_password: format!("{}:{}", self.username, self.password) }));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let text = self.auth.trim();
        let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).map_err(|_| BadCredentials)?;
        let user_and_password = String::from_utf8(bytes).map_err(|_| BadCredentials)?;
        // Some tools pad with NUL bytes, as docker's own decoder tolerates.
        let user_and_password = user_and_password.trim_end_matches('\0').to_owned();
        if user_and_password.contains(':') {
            Ok(Some(Secret::Password { user_and_password }))
        } else {
            Err(BadCredentials)
        }
    }
}

/// Whether `key`, a server address or a key of `config.json`, is about `registry` and, where it names a path, about
/// `repository`. Answers how specific it is.
///
/// Keys are a host, a host and the beginning of a repository, or the URL of an API as docker writes it
/// (`https://index.docker.io/v1/`).
pub(crate) fn key_matches(key: &str, registry: &str, repository: &str) -> Option<usize> {
    let (is_url, rest) = match key.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, key),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if canonical(host) != canonical(registry) {
        return None;
    }
    let path = path.trim_end_matches('/');
    if is_url || path.is_empty() || path == "v1" || path == "v2" {
        return Some(0);
    }
    let beneath = repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    beneath.then_some(path.len())
}

/// One spelling for each registry: Docker Hub has three names, and 443 is what is meant without a port.
fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_suffix(":443").unwrap_or(&host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Result<Option<Secret>, BadCredentials> {
        Ok(Some(Secret::Password { user_and_password: text.to_owned() }))
    }

    #[test]
    fn the_most_specific_field_is_used() {
        let mut credentials = Credentials::default();
        assert!(credentials.secret() == Ok(None));
        credentials.auth = STANDARD.encode("who:what:ever");
        assert!(credentials.secret() == password("who:what:ever"));
        credentials.username = "me".into();
        assert!(credentials.secret() == password("me:"));
        credentials.identity_token = "id".into();
        assert!(credentials.secret() == Ok(Some(Secret::IdentityToken("id".into()))));
        credentials.registry_token = "direct".into();
        assert!(credentials.secret() == Ok(Some(Secret::RegistryToken("direct".into()))));
    }

    #[test]
    fn auth_that_is_not_a_user_and_a_password_is_refused() {
        for bad in ["%%%", &STANDARD.encode("nocolon"), &STANDARD.encode([0xff, b':'])] {
            let credentials = Credentials { auth: (*bad).to_owned(), ..Credentials::default() };
            assert!(credentials.secret() == Err(BadCredentials), "{bad}");
        }
    }

    #[test]
    fn keys_are_hosts_urls_or_beginnings_of_repositories() {
        for (key, registry, repository, expected) in [
            ("https://index.docker.io/v1/", "docker.io", "library/nginx", Some(0)),
            ("docker.io", "docker.io", "library/nginx", Some(0)),
            ("registry-1.docker.io", "docker.io", "a", Some(0)),
            ("r.example:5000", "r.example:5000", "a", Some(0)),
            ("r.example", "r.example:5000", "a", None),
            ("R.example:443", "r.example", "a", Some(0)),
            ("r.example/team", "r.example", "team/app", Some(4)),
            ("r.example/team", "r.example", "teammate/app", None),
            ("http://r.example/whatever", "r.example", "a", Some(0)),
            ("evil.example", "r.example", "a", None),
        ] {
            assert_eq!(key_matches(key, registry, repository), expected, "{key} {registry}/{repository}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let credentials = Credentials {
            username: "me".into(),
            password: "hunter2".into(),
            auth: "c2VjcmV0".into(),
            identity_token: "idtoken".into(),
            registry_token: "regtoken".into(),
            server_address: "r".into(),
        };
        let shown = format!("{credentials:?}");
        for secret in ["hunter2", "c2VjcmV0", "idtoken", "regtoken"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
