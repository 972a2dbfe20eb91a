//! What a shim tells unasked: ends of containers and execs, and its own.

use std::sync::Arc;

use cradle_domain::{Failure, Timestamp};
use cradle_domain::lifecycle::container::ContainerState;
use cradle_domain::lifecycle::pod::PodEvent;
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

/// The shim is dead: what it wrote last is the truth about its containers, and whatever of them may be alive is killed.
async fn shim_lost(core: &Core, pod: &Pod) {
    let expected = pod.is_ending();
    let alive: Vec<_> = pod.containers().into_iter().filter(|container| container.is_alive()).collect();
    for container in &alive {
        if let Some(exit) = core.ports.shims.exit_record(&pod.id, &container.id).and_then(|report| report.exit) {
            container.exited(exit, exit_reason(&exit), "");
        } else if !matches!(container.state(), ContainerState::Exited) {
            let exit = Exit { code: KILLED, at: Timestamp::now(), oom_killed: false, timed_out: false };
            let message = "the pod's shim died, and the container was killed with it";
            container.exited(exit, if expected { "Error" } else { "ShimLost" }, if expected { "" } else { message });
        }
    }
    if expected {
        return;
    }
    pod.observe(PodEvent::ShimLost);
    tracing::error!(pod = %pod.id, containers = alive.len(), "a pod's shim died; its containers are killed");
    if let Err(failure) = core.ports.records.save_pod(&pod.record()).await {
        tracing::warn!(pod = %pod.id, %failure, "the end of a shim could not be recorded");
    }
    kill_groups(core, alive).await;
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
