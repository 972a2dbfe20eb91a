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
use crate::ports::{ShimEvent, ShimLink};
use crate::request;

/// Exit code of a container whose end nobody saw: killed by SIGKILL.
const KILLED: i32 = 128 + 9;

/// Enters a pod's shim, and deals with all that it tells until it is gone.
pub(crate) fn attend(core: &Arc<Core>, pod: &Arc<Pod>, link: Arc<dyn ShimLink>, events: mpsc::Receiver<ShimEvent>) {
    pod.connect(link.clone());
    let (core, pod) = (core.clone(), pod.clone());
    request::spawn(async move {
        match request::spawn(take_all(pod.clone(), events)).await {
            Ok(End::OfShim) => {}
            // What it told is lost, and what it tells next would be: the pod ends, and nobody waits in vain.
            Err(error) if error.is_panic() => link.kill(),
            Ok(End::OfDaemon) | Err(_) => return,
        }
        shim_lost(&core, &pod).await;
        pod.disconnect();
    });
}

/// Why a shim tells no more.
enum End {
    OfShim,
    /// Pods do not notice it.
    OfDaemon,
}

async fn take_all(pod: Arc<Pod>, mut events: mpsc::Receiver<ShimEvent>) -> End {
    loop {
        match events.recv().await {
            Some(ShimEvent::Told(event)) => take(&pod, event),
            Some(ShimEvent::Lost) => return End::OfShim,
            None => return End::OfDaemon,
        }
    }
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
    // It was killed before it could end these and say so.
    let mut untold = pod.containers();
    untold.retain(|container| container.is_alive());
    for container in &untold {
        let exit = written_exit(core, container).unwrap_or_else(unseen);
        container.exited(exit, exit_reason(&exit), "");
    }
    kill_groups(core, untold).await;
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
    if containers.is_empty() {
        return;
    }
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
