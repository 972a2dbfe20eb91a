//! Credentials of the machine: a file as `docker login` and `podman login` write it (`config.json`, `auth.json`).
//!
//! Read anew for each pull. Credential helpers are programs; they are not run, and an entry that names one is reported as
//! such.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::credentials::{Credentials, key_matches};
use crate::limits;

/// A `config.json` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {limit} bytes", path = path.display(), limit = limits::DOCKER_CONFIG_MAX_BYTES)]
    TooLarge { path: PathBuf },
    #[error("{path} is not a docker config.json", path = path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: HashMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
    #[serde(default, rename = "registrytoken")]
    registry_token: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry(of {:?}, secrets not shown)", self.username)
    }
}

/// What a file knows about a registry.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Entry {
        key: &'a str,
        credentials: Credentials,
    },
    /// A program that would know.
    Helper(&'a str),
    Nothing,
}

impl DockerConfig {
    /// Reads the file; one that does not exist knows nothing.
    pub(crate) fn load(path: &Path) -> Result<Self, DockerConfigError> {
        let read = |source| DockerConfigError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DockerConfig::default()),
            Err(source) => return Err(read(source)),
        };
        let mut text = Vec::new();
        file.take(limits::DOCKER_CONFIG_MAX_BYTES + 1).read_to_end(&mut text).map_err(read)?;
        if text.len() as u64 > limits::DOCKER_CONFIG_MAX_BYTES {
            return Err(DockerConfigError::TooLarge { path: path.to_owned() });
        }
        serde_json::from_slice(&text).map_err(|source| DockerConfigError::Parse { path: path.to_owned(), source })
    }

    /// The entry that speaks most specifically of `repository` at `registry`.
    pub(crate) fn find(&self, registry: &str, repository: &str) -> Found<'_> {
        let matching = self.auths.iter().filter_map(|(key, entry)| {
            let credentials = entry.credentials();
            // `docker login` with a store leaves an empty entry behind.
            let empty = credentials == Credentials::default();
            key_matches(key, registry, repository).filter(|_| !empty).map(|specific| (specific, key, credentials))
        });
        if let Some((_, key, credentials)) = matching.max_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1))) {
            return Found::Entry { key, credentials };
        }
        let helper = self.helpers.iter().find(|(key, _)| key_matches(key, registry, repository).is_some());
        match helper.map(|(_, name)| name).or(self.store.as_ref()) {
            Some(name) => Found::Helper(name),
            None => Found::Nothing,
        }
    }
}

impl Entry {
    fn credentials(&self) -> Credentials {
        Credentials {
            username: self.username.clone(),
            password: self.password.clone(),
            auth: self.auth.clone(),
            identity_token: self.identity_token.clone(),
            registry_token: self.registry_token.clone(),
            server_address: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<DockerConfig, DockerConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        DockerConfig::load(&path)
    }

    #[test]
    fn the_most_specific_entry_is_found() {
        let config = load(
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "aHViOng="},
                "r.example": {"username": "all"}, "r.example/team": {"username": "team"}, "stored.example": {}},
                "credsStore": "desktop", "HttpHeaders": {}}"#,
        )
        .unwrap();
        let user = |registry: &str, repository: &str| match config.find(registry, repository) {
            Found::Entry { credentials, .. } => credentials.username + &credentials.auth,
            Found::Helper(name) => format!("helper {name}"),
            Found::Nothing => String::new(),
        };
        assert_eq!(user("docker.io", "library/nginx"), "aHViOng=");
        assert_eq!(user("r.example", "team/app"), "team");
        assert_eq!(user("r.example", "other/app"), "all");
        assert_eq!(user("stored.example", "app"), "helper desktop");
    }

    #[test]
    fn a_missing_file_knows_nothing_and_a_broken_one_is_an_error() {
        let nowhere = DockerConfig::load(Path::new("/nonexistent/config.json")).unwrap();
        assert!(matches!(nowhere.find("docker.io", "a"), Found::Nothing));
        assert!(matches!(load("{"), Err(DockerConfigError::Parse { .. })));
    }
}
