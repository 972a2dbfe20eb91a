//! `cradle stop` and `cradle rm`. A pod that `cradle run` made goes with its container.

use std::process::ExitCode;

use cradle_cri_api::v1;
use v1::ContainerState;

use crate::arguments::{Rm, Stop};
use crate::client::{Client, Error, NAME_LABEL};

pub async fn stop(client: &mut Client, stop: &Stop) -> Result<ExitCode, Error> {
    for name in &stop.containers {
        let container = client.container(name).await?;
        let request = v1::StopContainerRequest { container_id: container.id, timeout: stop.time.max(0) };
        client.runtime.stop_container(request).await?;
        println!("{name}");
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn remove(client: &mut Client, rm: &Rm) -> Result<ExitCode, Error> {
    for name in &rm.containers {
        let container = client.container(name).await?;
        if container.state() == ContainerState::ContainerRunning && !rm.force {
            return Err(Error::Local(format!("container {name:?} is running: stop it first, or give --force")));
        }
        remove_one(client, &container).await?;
        println!("{name}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes a container and, when `cradle run` made it, its pod and its log.
pub async fn remove_one(client: &mut Client, container: &v1::Container) -> Result<(), Error> {
    if !container.labels.contains_key(NAME_LABEL) {
        let request = v1::RemoveContainerRequest { container_id: container.id.clone() };
        client.runtime.remove_container(request).await?;
        return Ok(());
    }
    let status = v1::ContainerStatusRequest { container_id: container.id.clone(), verbose: false };
    let status = client.runtime.container_status(status).await?.into_inner().status.unwrap_or_default();
    let pod_sandbox_id = container.pod_sandbox_id.clone();
    client.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() }).await?;
    client.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id }).await?;
    let log = std::path::Path::new(&status.log_path);
    // The log is ours, in a folder of its own; both may be gone.
    let _ = std::fs::remove_file(log);
    if let Some(folder) = log.parent() {
        let _ = std::fs::remove_dir(folder);
    }
    Ok(())
}
