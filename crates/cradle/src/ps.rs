//! `cradle ps`.

use std::cmp::Reverse;
use std::process::ExitCode;

use cradle_cri_api::v1;
use v1::ContainerState;

use crate::arguments::Ps;
use crate::client::{Client, container_name};
use crate::error::Error;
use crate::{output, table, time};

pub async fn ps(client: &mut Client, ps: &Ps) -> Result<ExitCode, Error> {
    let running = v1::ContainerStateValue { state: ContainerState::ContainerRunning.into() };
    let filter = v1::ContainerFilter { state: (!ps.all).then_some(running), ..v1::ContainerFilter::default() };
    let request = v1::ListContainersRequest { filter: Some(filter) };
    let mut containers = client.runtime.list_containers(request).await?.into_inner().containers;
    containers.sort_by_key(|container| Reverse(container.created_at));
    if ps.quiet {
        containers.iter().try_for_each(|container| output::line(&container.id))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for container in &containers {
        match client.status(&container.id).await {
            Ok(status) => rows.push(row(container, &status)),
            // It was removed since it was listed.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    table::print(&["CONTAINER ID", "IMAGE", "CREATED", "STATUS", "NAME", "POD"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn row(container: &v1::Container, status: &v1::ContainerStatus) -> Vec<String> {
    let asked = container.image.as_ref().map_or("", |image| image.user_specified_image.as_str());
    let known = status.image.as_ref().map_or("", |image| image.image.as_str());
    vec![
        table::short_id(&container.id),
        if asked.is_empty() { known } else { asked }.to_owned(),
        format!("{} ago", time::since(container.created_at)),
        state(status),
        container_name(container).to_owned(),
        container.labels.get("io.kubernetes.pod.name").cloned().unwrap_or_default(),
    ]
}

/// "Up 3 minutes", "Exited (0) 2 hours ago".
fn state(status: &v1::ContainerStatus) -> String {
    match status.state() {
        ContainerState::ContainerCreated => "Created".into(),
        ContainerState::ContainerRunning => format!("Up {}", time::since(status.started_at)),
        ContainerState::ContainerExited => {
            let why = if status.reason == "OOMKilled" { ", out of memory" } else { "" };
            format!("Exited ({}{why}) {} ago", status.exit_code, time::since(status.finished_at))
        }
        ContainerState::ContainerUnknown => "Unknown".into(),
    }
}
