//! `cradle ps`.

use std::process::ExitCode;

use cradle_cri_api::v1;
use v1::ContainerState;

use crate::arguments::Ps;
use crate::client::{Client, Error, container_name};
use crate::table;

pub async fn ps(client: &mut Client, ps: &Ps) -> Result<ExitCode, Error> {
    let running = v1::ContainerStateValue { state: ContainerState::ContainerRunning.into() };
    let filter = v1::ContainerFilter { state: (!ps.all).then_some(running), ..v1::ContainerFilter::default() };
    let request = v1::ListContainersRequest { filter: Some(filter) };
    let mut containers = client.runtime.list_containers(request).await?.into_inner().containers;
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    if ps.quiet {
        containers.iter().for_each(|container| println!("{}", container.id));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for container in &containers {
        rows.push(vec![
            table::short_id(&container.id),
            container.image.as_ref().map(|image| image.user_specified_image.clone()).unwrap_or_default(),
            format!("{} ago", table::since(container.created_at)),
            status(client, container).await?,
            container_name(container).to_owned(),
            container.labels.get("io.kubernetes.pod.name").cloned().unwrap_or_default(),
        ]);
    }
    table::print(&["CONTAINER ID", "IMAGE", "CREATED", "STATUS", "NAME", "POD"], &rows);
    Ok(ExitCode::SUCCESS)
}

/// "Up 3 minutes", "Exited (0) 2 hours ago".
async fn status(client: &mut Client, container: &v1::Container) -> Result<String, Error> {
    let request = v1::ContainerStatusRequest { container_id: container.id.clone(), verbose: false };
    let status = client.runtime.container_status(request).await?.into_inner().status.unwrap_or_default();
    Ok(match status.state() {
        ContainerState::ContainerCreated => "Created".into(),
        ContainerState::ContainerRunning => format!("Up {}", table::since(status.started_at)),
        ContainerState::ContainerExited => {
            format!("Exited ({}) {} ago", status.exit_code, table::since(status.finished_at))
        }
        ContainerState::ContainerUnknown => "Unknown".into(),
    })
}
