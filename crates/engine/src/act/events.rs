//! What a shim tells unasked: ends of containers and execs, and its own.

use std::sync::Arc;

use cradle_domain::lifecycle::container::ContainerState;
use cradle_domain::lifecycle::pod::PodEvent;
use cradle_domain::{Failure, Timestamp};
use cradle_executor::cgroup::Cgroup;
use cradle_shim::protocol::{Event, Exit};
use tokio::sync::mpsc;

use crate::container::{Container, exit_reason};
use crate::engine::Core;
use crate::pod::Pod;
use crate::ports::ShimEvent;

/// Exit code of a container whose end nobody saw: killed by SIGKILL.
const KILLED: i32 = 128 + 9;

/// Deals with all that one shim tells until it is gone.
pub(crate) async fn take_events(core: Arc<Core>, pod: Arc<Pod>, mut events: mpsc::Receiver<ShimEvent>) {
    while let Some(ShimEvent::Told(event)) = events.recv().await {
        take(&pod, event);
    }
    shim_lost(&core, &pod).await;
    pod.disconnect();
}

fn take(pod: &Pod, event: Event) {
    match event {
        Event::ContainerExited { container, exit } => {
            if let Some(container) = pod.container(&container) {
                container.exited(exit, exit_reason(&exit), "");
            }
        }
        Event::ExecExited { exec, exit, .. } => pod.end_exec(exec, Some(exit)),
        Event::LogLost { container, lost_bytes, error } => {
            tracing::warn!(pod = %pod.id, %container, lost_bytes, error, "output of a container could not be logged");
            if let Some(container) = pod.container(&container) {
                container.log_lost(lost_bytes);
            }
        }
    }
}

/// The shim is dead: what it wrote last is the truth about its containers.
async fn shim_lost(core: &Core, pod: &Pod) {
    if !pod.is_ending() {
        tracing::error!(pod = %pod.id, "a pod's shim died; its containers are killed");
        return bury(core, pod).await;
    }
    for container in pod.containers().iter().filter(|container| container.is_alive()) {
        let exit = written_exit(core, container).unwrap_or_else(unseen);
        container.exited(exit, exit_reason(&exit), "");
    }
}

/// The pod of a shim that died against its will: its containers have ended or are killed, also one that may have been
/// started just before.
pub(crate) async fn bury(core: &Core, pod: &Pod) {
    pod.observe(PodEvent::ShimLost);
    let containers = pod.containers();
    for container in containers.iter().filter(|container| container.state() != ContainerState::Exited) {
        match written_exit(core, container) {
            Some(exit) => container.exited(exit, exit_reason(&exit), ""),
            None => {
                container.exited(unseen(), "ShimLost", "the pod's shim died, and the container was killed with it");
            }
        }
    }
    if let Err(failure) = core.ports.records.save_pod(&pod.record()).await {
        tracing::warn!(pod = %pod.id, %failure, "the end of a shim could not be recorded");
    }
    kill_groups(core, containers).await;
}

/// The exit that the shim has written down before its own end.
fn written_exit(core: &Core, container: &Container) -> Option<Exit> {
    core.ports.shims.exit_record(&container.pod, &container.id)?.exit
}

/// The exit of a container whose end nobody saw.
fn unseen() -> Exit {
    Exit { code: KILLED, at: Timestamp::now(), oom_killed: false, timed_out: false }
}

/// Kills what may be alive of these containers without a shim.
async fn kill_groups(core: &Core, containers: Vec<Arc<Container>>) {
    let layout = core.settings.facts.layout.clone();
    let killing = tokio::task::spawn_blocking(move || {
        for container in containers {
            let kill = || Ok::<_, Failure>(Cgroup::open(&container.cgroup, &layout)?.kill()?);
            if let Err(failure) = kill() {
                tracing::warn!(container = %container.id, %failure, "a container of a dead shim could not be killed");
            }
        }
    });
    // Its panic would have been reported by the runtime.
    let _ = killing.await;
}
