//! What the flags of `cradle run` mean in the CRI's words: a pod, and a container in it that has its name.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;

use cradle_cri_api::v1;
use v1::NamespaceMode;
use v1::security_profile::ProfileType;

use super::LOGS;
use crate::arguments::Run;
use crate::client::{NAME_LABEL, run_uid};
use crate::error::Error;

/// Longest name: it is the pod's host name as well (sethostname(2)).
const NAME_MAX_CHARS: usize = 63;

/// What is asked for.
pub struct Config {
    pub name: String,
    pub image: String,
    pub pod: v1::PodSandboxConfig,
    pub container: v1::ContainerConfig,
}

impl Config {
    /// # Errors
    /// A flag makes no sense, or a folder to be mounted is not there.
    pub fn new(run: &Run) -> Result<Self, Error> {
        let Some((image, args)) = run.words.split_first() else { return Err(Error::local("an image is missing")) };
        let nonce = format!("{:012x}", RandomState::new().hash_one(0_u8) >> 16);
        let name = match &run.name {
            Some(name) => checked_name(name)?,
            None => default_name(image, &nonce),
        };
        let network = network(&run.network)?;
        let namespaces =
            v1::NamespaceOption { network: network.into(), pid: NamespaceMode::Container.into(), ..Default::default() };
        let port_mappings = run.publish.iter().map(|text| port(text)).collect::<Result<Vec<_>, _>>()?;
        if network == NamespaceMode::Node && !port_mappings.is_empty() {
            return Err(Error::local(
                "--publish with --network host: on this machine's network every port is open already",
            ));
        }
        let mounts = run.volume.iter().map(|text| mount(text)).collect::<Result<_, _>>()?;
        Ok(Config {
            pod: pod(&name, &nonce, namespaces.clone(), port_mappings),
            container: v1::ContainerConfig {
                metadata: Some(v1::ContainerMetadata { name: name.clone(), attempt: 0 }),
                // As docker has it: the words replace the image's command, not its entrypoint.
                args: args.to_vec(),
                envs: run.env.iter().filter_map(|text| variable(text)).collect(),
                mounts,
                labels: labels(&name),
                log_path: "0.log".into(),
                stdin: run.terminal.interactive,
                tty: run.terminal.tty,
                linux: Some(confinement(namespaces)),
                ..Default::default()
            },
            image: image.clone(),
            name,
        })
    }
}

fn pod(
    name: &str,
    nonce: &str,
    namespaces: v1::NamespaceOption,
    port_mappings: Vec<v1::PortMapping>,
) -> v1::PodSandboxConfig {
    let on_host = namespaces.network() == NamespaceMode::Node;
    let security = v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces),
        seccomp: Some(default_profile()),
        ..Default::default()
    };
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: run_uid(name),
            namespace: "cradle".into(),
            attempt: 0,
        }),
        hostname: if on_host { String::new() } else { name.to_owned() },
        log_directory: format!("{LOGS}/{name}-{nonce}"),
        port_mappings,
        labels: labels(name),
        // Two `cradle run` of one name at the same moment ask for different pods: neither joins the other's.
        annotations: BTreeMap::from([("cradle.run".to_owned(), nonce.to_owned())]),
        linux: Some(v1::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    }
}

/// What a container is kept from unless it asks for more, as docker has it. The paths to hide are the daemon's choice.
fn confinement(namespaces: v1::NamespaceOption) -> v1::LinuxContainerConfig {
    let security = v1::LinuxContainerSecurityContext {
        namespace_options: Some(namespaces),
        seccomp: Some(default_profile()),
        ..Default::default()
    };
    v1::LinuxContainerConfig { security_context: Some(security), ..Default::default() }
}

fn default_profile() -> v1::SecurityProfile {
    v1::SecurityProfile { profile_type: ProfileType::RuntimeDefault.into(), localhost_ref: String::new() }
}

fn labels(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(NAME_LABEL.to_owned(), name.to_owned()), ("io.kubernetes.pod.name".to_owned(), name.to_owned())])
}

/// A name is a host name and the name of a folder.
fn checked_name(name: &str) -> Result<String, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fine = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed);
    if fine && name.len() <= NAME_MAX_CHARS {
        return Ok(name.to_owned());
    }
    Err(Error::Local(format!(
        "--name {name:?}: a name has at most {NAME_MAX_CHARS} letters, digits, \"-\", \"_\" and \".\", and begins with a letter or digit"
    )))
}

/// The last word of the image's name, made unlike others.
fn default_name(image: &str, nonce: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    let base = last.split([':', '@']).next().unwrap_or_default();
    let short: String = base.chars().take(NAME_MAX_CHARS - 7).collect();
    checked_name(&format!("{short}-{}", &nonce[..6])).unwrap_or_else(|_| format!("container-{}", &nonce[..6]))
}

fn network(text: &str) -> Result<NamespaceMode, Error> {
    match text {
        "pod" | "bridge" => Ok(NamespaceMode::Pod),
        "host" => Ok(NamespaceMode::Node),
        other => Err(Error::Local(format!("--network {other:?}: there are \"pod\" and \"host\""))),
    }
}

/// `NAME=VALUE`, or `NAME` for this shell's value; nothing where it has none.
fn variable(text: &str) -> Option<v1::KeyValue> {
    let (key, value) = match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text.to_owned(), std::env::var(text).ok()?),
    };
    Some(v1::KeyValue { key, value })
}

/// `SOURCE:PLACE[:ro|:rw]`.
fn mount(text: &str) -> Result<v1::Mount, Error> {
    let bad = |why: &str| Error::Local(format!("--volume {text:?}: {why}"));
    let words: Vec<&str> = text.split(':').collect();
    let (source, place, readonly) = match words[..] {
        [source, place] | [source, place, "rw"] => (source, place, false),
        [source, place, "ro"] => (source, place, true),
        _ => return Err(bad("expected SOURCE:PLACE, SOURCE:PLACE:ro or SOURCE:PLACE:rw")),
    };
    if !place.starts_with('/') {
        return Err(bad("the place in the container must be an absolute path"));
    }
    if !source.starts_with(['/', '.']) {
        return Err(bad(&format!("there are no named volumes; a folder here is written ./{source}")));
    }
    let found = Path::new(source).canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => bad(&format!("there is no {source} on this machine: make it first")),
        _ => bad(&error.to_string()),
    })?;
    let host_path = found.into_os_string().into_string().map_err(|_| bad("the source's name is not UTF-8"))?;
    Ok(v1::Mount { container_path: place.to_owned(), host_path, readonly, ..Default::default() })
}

/// `[ADDRESS:]PORT:PORT[/tcp|/udp]`, this machine's port first.
fn port(text: &str) -> Result<v1::PortMapping, Error> {
    let bad =
        || Error::Local(format!("--publish {text:?}: expected [ADDRESS:]PORT:PORT[/udp], this machine's port first"));
    let (ports, protocol) = match text.rsplit_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), v1::Protocol::Tcp),
        Some((ports, "udp")) => (ports, v1::Protocol::Udp),
        Some(_) => return Err(bad()),
    };
    let (host, container) = ports.rsplit_once(':').ok_or_else(bad)?;
    let (host_ip, host) = host.rsplit_once(':').unwrap_or(("", host));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).map(i32::from).ok_or_else(bad);
    Ok(v1::PortMapping {
        protocol: protocol.into(),
        host_port: number(host)?,
        container_port: number(container)?,
        host_ip: host_ip.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why<T>(result: Result<T, Error>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn ports_are_as_docker_writes_them() {
        for (text, address, host, container, protocol) in [
            ("8080:80", "", 8080, 80, v1::Protocol::Tcp),
            ("127.0.0.1:8080:80/tcp", "127.0.0.1", 8080, 80, v1::Protocol::Tcp),
            ("53:5353/udp", "", 53, 5353, v1::Protocol::Udp),
        ] {
            let mapping = port(text).unwrap();
            assert_eq!(
                (mapping.host_ip.as_str(), mapping.host_port, mapping.container_port),
                (address, host, container)
            );
            assert_eq!(mapping.protocol(), protocol, "{text}");
        }
        for text in ["80", "80:x", "0:80", "80:65536", "80:80/sctp", ":80", "80:"] {
            assert!(why(port(text)).contains(text), "{text}");
        }
    }

    #[test]
    fn mounts_need_a_source_that_is_there_and_an_absolute_place() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().canonicalize().unwrap();
        let source = source.to_str().unwrap();
        let made = mount(&format!("{source}:/data:ro")).unwrap();
        assert_eq!((made.host_path.as_str(), made.container_path.as_str(), made.readonly), (source, "/data", true));
        assert!(!mount(&format!("{source}:/data")).unwrap().readonly);
        for (text, reason) in [
            (format!("{source}:data"), "absolute"),
            (format!("{source}:/data:xx"), "expected"),
            (source.to_owned(), "expected"),
            (format!("{source}/missing:/data"), "make it first"),
            ("data:/data".to_owned(), "./data"),
        ] {
            assert!(why(mount(&text)).contains(reason), "{text}: {}", why(mount(&text)));
        }
    }

    #[test]
    fn a_name_is_fit_for_a_host_and_a_folder() {
        for name in ["web", "web-1.example_2", &"a".repeat(63)] {
            assert_eq!(checked_name(name).unwrap(), name);
        }
        for name in ["", "-web", "../etc", "a/b", "a b", "ä", &"a".repeat(64)] {
            assert!(why(checked_name(name)).contains("begins with"), "{name:?}");
        }
    }

    #[test]
    fn the_default_name_is_that_of_the_image() {
        for (image, name) in [
            ("nginx", "nginx-012345"),
            ("localhost:5000/library/redis:7", "redis-012345"),
            ("a/b@sha256:00", "b-012345"),
            ("sha256:00", "sha256-012345"),
            ("/", "container-012345"),
        ] {
            assert_eq!(default_name(image, "0123456789ab"), name);
        }
        assert_eq!(default_name(&"a".repeat(100), "0123456789ab").len(), 63);
    }

    #[test]
    fn a_variable_without_value_is_this_shells() {
        let variable = |text| variable(text).map(|variable| (variable.key, variable.value));
        assert_eq!(variable("A=b=c"), Some(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Some(("A".into(), String::new())));
        assert_eq!(variable("PATH"), Some(("PATH".into(), std::env::var("PATH").unwrap())));
        assert_eq!(variable("CRADLE_TEST_HAS_NO_SUCH_VARIABLE"), None);
    }
}
