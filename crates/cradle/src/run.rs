//! `cradle run`: a pod with one container, named alike.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use cradle_cri_api::v1;
use v1::{ContainerState, NamespaceMode};

use crate::arguments::Run;
use crate::client::{Client, Error, NAME_LABEL};
use crate::{log, pull, stop};

/// Where the logs of pods that this program makes are.
const LOGS: &str = "/var/log/cradle";

pub async fn run(client: &mut Client, run: &Run) -> Result<ExitCode, Error> {
    let sandbox = sandbox(run)?;
    let container = container(run, &sandbox)?;
    ensure_image(client, &run.image).await?;
    let request = v1::RunPodSandboxRequest { config: Some(sandbox.clone()), runtime_handler: String::new() };
    let pod = client.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    let started = start(client, &pod, &sandbox, container).await;
    let id = match started {
        Ok(id) => id,
        Err(error) => {
            // The first error is the one to tell.
            let _ = client.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: pod }).await;
            return Err(error);
        }
    };
    if run.detach {
        println!("{id}");
        return Ok(ExitCode::SUCCESS);
    }
    let code = until_end(client, &id).await?;
    if run.rm {
        let container = client.container(&id).await?;
        stop::remove_one(client, &container).await?;
    }
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

async fn ensure_image(client: &mut Client, image: &str) -> Result<(), Error> {
    let spec = v1::ImageSpec { image: image.to_owned(), ..v1::ImageSpec::default() };
    let request = v1::ImageStatusRequest { image: Some(spec), verbose: false };
    if client.images.image_status(request).await?.into_inner().image.is_none() {
        eprintln!("{image} is not here yet: pulling");
        pull::fetch(client, image).await?;
    }
    Ok(())
}

async fn start(
    client: &mut Client,
    pod: &str,
    sandbox: &v1::PodSandboxConfig,
    container: v1::ContainerConfig,
) -> Result<String, Error> {
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(container),
        sandbox_config: Some(sandbox.clone()),
    };
    let id = client.runtime.create_container(request).await?.into_inner().container_id;
    client.runtime.start_container(v1::StartContainerRequest { container_id: id.clone() }).await?;
    Ok(id)
}

/// Shows its output until it has ended, or Ctrl-C stops it; gives its exit code.
async fn until_end(client: &mut Client, id: &str) -> Result<i32, Error> {
    let path = log::log_path(client, id).await?;
    let mut file = log::Log::open(&path).map_err(|error| Error::Local(format!("reading the log {path}: {error}")))?;
    tokio::select! {
        followed = log::follow(client, id, &mut file, false) => followed?,
        _ = tokio::signal::ctrl_c() => {}
    }
    let status = |client: &mut Client| {
        let mut runtime = client.runtime.clone();
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        async move { Ok::<_, Error>(runtime.container_status(request).await?.into_inner().status.unwrap_or_default()) }
    };
    if status(client).await?.state() != ContainerState::ContainerExited {
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout: 10 };
        client.runtime.stop_container(request).await?;
    }
    Ok(status(client).await?.exit_code)
}

fn sandbox(run: &Run) -> Result<v1::PodSandboxConfig, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let base = run.image.rsplit('/').next().unwrap_or("container").split([':', '@']).next().unwrap_or("container");
    let name = run.name.clone().unwrap_or_else(|| format!("{base}-{}", now % 1_000_000));
    let network = match run.network.as_deref() {
        None | Some("pod") => NamespaceMode::Pod,
        Some("host") => NamespaceMode::Node,
        Some(other) => return Err(Error::Local(format!("--network {other:?}: there are \"pod\" and \"host\""))),
    };
    let namespaces =
        v1::NamespaceOption { network: network.into(), pid: NamespaceMode::Container.into(), ..Default::default() };
    let security = v1::LinuxSandboxSecurityContext { namespace_options: Some(namespaces), ..Default::default() };
    let linux = v1::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
    let port_mappings = run.publish.iter().map(|publish| port(publish)).collect::<Result<_, _>>()?;
    Ok(v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.clone(),
            // One pod of a name at a time, as docker has it.
            uid: format!("cradle-run-{name}"),
            namespace: "cradle".into(),
            attempt: 0,
        }),
        hostname: if network == NamespaceMode::Pod { name.clone() } else { String::new() },
        log_directory: format!("{LOGS}/{name}"),
        port_mappings,
        labels: labels(&name),
        linux: Some(linux),
        ..Default::default()
    })
}

fn labels(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(NAME_LABEL.to_owned(), name.to_owned()), ("io.kubernetes.pod.name".to_owned(), name.to_owned())])
}

fn container(run: &Run, sandbox: &v1::PodSandboxConfig) -> Result<v1::ContainerConfig, Error> {
    let name = sandbox.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: name.clone(), attempt: 0 }),
        image: Some(v1::ImageSpec {
            image: run.image.clone(),
            user_specified_image: run.image.clone(),
            ..Default::default()
        }),
        // As docker has it: the words replace the image's command, not its entrypoint.
        args: run.command.clone(),
        envs: run.env.iter().filter_map(|variable| environment(variable)).collect(),
        mounts: run.volume.iter().map(|volume| mount(volume)).collect::<Result<_, _>>()?,
        labels: labels(&name),
        log_path: "0.log".into(),
        ..Default::default()
    })
}

/// `NAME=VALUE`, or `NAME` for this shell's value; nothing where it has none.
fn environment(variable: &str) -> Option<v1::KeyValue> {
    let (key, value) = match variable.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (variable.to_owned(), std::env::var(variable).ok()?),
    };
    Some(v1::KeyValue { key, value: value.into() })
}

/// `SOURCE:PLACE[:ro|:rw]`.
fn mount(volume: &str) -> Result<v1::Mount, Error> {
    let bad = |why: &str| Error::Local(format!("--volume {volume:?}: {why}"));
    let mut words = volume.split(':');
    let (Some(source), Some(place)) = (words.next(), words.next()) else { return Err(bad("expected SOURCE:PLACE")) };
    let readonly = match words.next() {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(_) => return Err(bad("the third word is ro or rw")),
    };
    let host_path = Path::new(source).canonicalize().map_err(|error| bad(&error.to_string()))?;
    Ok(v1::Mount {
        container_path: place.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        readonly,
        ..Default::default()
    })
}

/// `HOST:CONTAINER`.
fn port(publish: &str) -> Result<v1::PortMapping, Error> {
    let bad = || Error::Local(format!("--publish {publish:?}: expected HOST:CONTAINER, both port numbers"));
    let (host, container) = publish.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u16>().map(i32::from).map_err(|_| bad());
    Ok(v1::PortMapping { host_port: number(host)?, container_port: number(container)?, ..Default::default() })
}
