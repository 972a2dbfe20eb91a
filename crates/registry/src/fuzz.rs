//! Fuzz targets: what operators write about registries, and what registries answer.

use std::path::Path;

use crate::challenge::{self, Challenge};
use crate::docker_config::{DockerConfig, Found};
use crate::hosts;
use crate::limits::HOSTS_MAX;
use crate::origin::{Origin, Url};

/// Whose hosts are asked for.
const REGISTRIES: [&str; 4] = ["docker.io", "registry.example:5000", "localhost", "[::1]:5000"];

/// A `hosts.toml`, after a byte that chooses the registry.
pub fn hosts(data: &[u8]) {
    let Some((&registry, data)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = Path::new("/etc/cradle/certs.d/x/hosts.toml");
    match hosts::parse(text, file, REGISTRIES[usize::from(registry) % REGISTRIES.len()]) {
        Ok(hosts) => {
            assert!((1..=HOSTS_MAX).contains(&hosts.len()));
            for host in hosts {
                assert!(
                    host.path.is_empty() || host.path.starts_with('/') && !host.path.ends_with('/'),
                    "{}",
                    host.path
                );
                assert!(host.trust.ca.iter().all(|file| file.is_absolute()));
                assert!(!host.dial_timeout.is_zero());
                read_again(&host.origin);
            }
        }
        Err(mistake) => {
            let lines = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&mistake.line) && !mistake.what.is_empty(), "{mistake:?}");
        }
    }
}

/// A `WWW-Authenticate` header, and its realm as a URL that is redirected to by the rest.
pub fn challenge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let challenges = challenge::parse(&text);
    assert!(challenges.len() <= text.len());
    for challenge in challenges {
        let Challenge::Bearer { realm, service, scope } = challenge else { continue };
        assert!(realm.len() <= text.len());
        let Ok(url) = Url::parse(&realm) else { continue };
        read_again(&url.origin);
        let value = scope.or(service).unwrap_or_default();
        let asked = url.with_query("scope", &value).unwrap();
        assert_eq!(asked.origin, url.origin);
        if let Ok(next) = asked.join(&value) {
            read_again(&next.origin);
            assert!(!matches!(next.origin, Origin::Unix(_)) || matches!(url.origin, Origin::Unix(_)));
        }
    }
}

/// An origin reads as it is written.
fn read_again(origin: &Origin) {
    assert_eq!(Url::parse(&origin.to_string()).unwrap().origin, *origin);
}

/// A `config.json` of docker.
pub fn docker_config(data: &[u8]) {
    let Ok(config) = serde_json::from_slice::<DockerConfig>(data) else { return };
    for registry in REGISTRIES {
        match config.find(registry, "library/nginx") {
            Found::Entry { credentials, .. } => drop(format!("{credentials:?}")),
            Found::Helper(_) | Found::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use cradle_testkit::fuzz::Replay;

    #[test]
    fn files_of_hosts_do_no_harm() {
        let full = r#"server = "https://registry-1.docker.io"
capabilities = ["pull", "resolve"]
[host."https://mirror.example:8443/v2/upstream"]
  capabilities = ["pull"]
  ca = ["one.pem", "/abs/two.pem"]
  client = [["c.cert", "c.key"], ["both.pem", ""]]
  skip_verify = false
  override_path = true
  dial_timeout = "61.5s"
  proxy = "http://proxy:3128"
  [host."https://mirror.example:8443/v2/upstream".header]
    x-one = "1"
    X-Two = ["a", "b"]
[host."http://[fd00::1]:5000"]
  ca = "n.pem"
  client = "n-client.pem"
[host."unix:///run/mirror.sock"]
"#;
        let short = "server = \"docker.io\"\n[host.'mirror']\nskip_verify = true\ndial_timeout = 5\n";
        let wrong = "# a mistake\nserver = \"https://a\"\n[host.\"https://b\"]\ncapabilites = [\"pull\"]\n";
        let samples = [full, short, wrong, "server = \"\"\n"].into_iter().zip(0..);
        let samples = samples.map(|(text, registry)| [&[registry], text.as_bytes()].concat());
        Replay::new("hosts").run(samples, super::hosts);
    }

    #[test]
    fn challenges_do_no_harm() {
        let samples = [
            "Basic realm=\"Registry\"",
            "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:library/nginx:pull\"",
            "Bearer realm=https://a:444/t?a=b, service=/x/../y",
            "Negotiate, Basic realm=\"x\", Bearer Realm = \"http://[::1]:5000/\" , scope=\"//b/c\"",
            "Bearer realm=\"unix:///run/x\",scope=\"?q\"",
            "Bearer realm=\"a\\\"b",
        ];
        Replay::new("challenge").run(samples.map(|text| text.as_bytes().to_vec()), super::challenge);
    }

    #[test]
    fn credentials_of_the_machine_do_no_harm() {
        let samples = [
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "aHViOng="}, "registry.example:5000/library": {"username": "kim",
                "password": "x"}, "localhost": {"identitytoken": "t", "registrytoken": "u"}, "[::1]:5000": {}},
                "credsStore": "desktop", "HttpHeaders": {}}"#,
            r#"{"credHelpers": {"docker.io": "ecr-login"}}"#,
        ];
        Replay::new("docker_config").run(samples.map(|text| text.as_bytes().to_vec()), super::docker_config);
    }
}
