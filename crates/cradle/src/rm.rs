//! `cradle rm`. A pod that `cradle run` made goes with its container, and so does its log.

use std::path::Path;
use std::process::ExitCode;

use cradle_cri_api::v1;
use v1::ContainerState;

use crate::arguments::Rm;
use crate::client::{Client, NAME_LABEL};
use crate::error::Error;
use crate::output;
use crate::run::LOGS;

pub async fn remove(client: &mut Client, rm: &Rm) -> Result<ExitCode, Error> {
    for name in &rm.containers {
        match client.container(name).await {
            Ok(container) => {
                if container.state() == ContainerState::ContainerRunning && !rm.force {
                    let text = format!("container {name:?} is running: cradle stop {name}, or give --force");
                    return Err(Error::Local(text));
                }
                container_with_pod(client, &container).await?;
            }
            Err(no_container) => empty_pods(client, name, no_container).await?,
        }
        output::line(name)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes a container and, when `cradle run` made it, its pod and its log.
pub async fn container_with_pod(client: &mut Client, container: &v1::Container) -> Result<(), Error> {
    if !container.labels.contains_key(NAME_LABEL) {
        let request = v1::RemoveContainerRequest { container_id: container.id.clone() };
        client.runtime.remove_container(request).await?;
        return Ok(());
    }
    let log_path = client.status(&container.id).await?.log_path;
    pod(client, &container.pod_sandbox_id).await?;
    remove_log(Path::new(&log_path));
    Ok(())
}

/// Removes a pod with all that is in it.
pub async fn pod(client: &mut Client, id: &str) -> Result<(), Error> {
    client.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await?;
    client.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() }).await?;
    Ok(())
}

/// Removes what a `cradle run` left that was killed before it had made its container.
async fn empty_pods(client: &mut Client, name: &str, no_container: Error) -> Result<(), Error> {
    let pods = client.pods_named(name).await?;
    if pods.is_empty() {
        return Err(no_container);
    }
    for left in pods {
        pod(client, &left.id).await?;
    }
    Ok(())
}

/// Removes a log with its folder, if it is one of ours. It may be gone.
pub fn remove_log(log: &Path) {
    let Some(folder) = log.parent().filter(|folder| folder.parent() == Some(Path::new(LOGS))) else { return };
    // What cannot be removed hurts nobody, and the container is gone.
    let _ = std::fs::remove_dir_all(folder);
}
