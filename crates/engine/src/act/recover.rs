//! Recovery at the daemon's start: records tell the intentions, shims the truth about processes. What comes of each pod
//! is a pure function ([`verdict`]); the pods are asked in parallel, and reads are served as soon as all have answered
//! or a bound is reached.

use std::sync::Arc;

use cradle_domain::lifecycle::container::ContainerState;
use cradle_domain::lifecycle::pod::{PodEvent, PodState};
use cradle_domain::{ContainerId, Failure, PodId};
use cradle_shim::protocol::{ContainerReport, Request};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{events, tear_down};
use crate::container::{Container, exit_reason};
use crate::engine::Core;
use crate::limits;
use crate::pod::{ContainerKey, Pod};
use crate::pod_cgroup::Parent;
use crate::ports::{ContainerRecord, Found, PodRecord, ShimEvent, ShimLink};

/// Brings back all pods. Tells of records that could not be read.
pub(crate) async fn recover(core: &Arc<Core>) -> Result<Vec<String>, Failure> {
    let loaded = core.ports.records.load().await?;
    // Before anything new can own something.
    let owners = (core.ports.images.owners().await?, core.ports.network.owners().await?);
    for damaged in &loaded.damaged {
        tracing::error!(record = damaged, "a damaged record was set aside");
    }
    let mut containers = loaded.containers;
    let mut pods = JoinSet::new();
    for record in loaded.pods {
        let (own, others) = containers.into_iter().partition(|container| container.pod == record.id);
        containers = others;
        let pod = enter(core, record, own);
        pods.spawn(revive(core.clone(), pod, loaded.rebooted));
    }
    for orphan in loaded.orphans {
        pods.spawn(remove_orphan(core.clone(), orphan));
    }
    let all = async { while pods.join_next().await.is_some() {} };
    if tokio::time::timeout(limits::RECOVERY_BEFORE_SERVING, all).await.is_err() {
        tracing::warn!(waiting = pods.len(), "some shims have not answered; reads are served meanwhile");
        pods.detach_all();
    }
    tokio::spawn(release_unowned(core.clone(), owners.0, owners.1));
    tear_down::sweep(core);
    Ok(loaded.damaged)
}

/// Enters a pod and its containers as their records tell of them.
fn enter(core: &Core, record: PodRecord, containers: Vec<ContainerRecord>) -> Arc<Pod> {
    let spec = Arc::new(record.spec.clone());
    let pod = Pod::restore(record, spec);
    if matches!(pod.state(), PodState::Ready | PodState::NotReady) {
        core.creations.restore(pod.key.clone(), pod.spec.clone(), pod.id.clone());
    }
    core.pods.insert(pod.id.clone(), pod.clone());
    for record in containers {
        let writable = core.ports.images.writable_path(&record.id);
        let container = Container::restore(record, writable);
        pod.creations.restore(ContainerKey::of(&container.spec), container.spec.clone(), container.id.clone());
        core.containers.insert(container.id.clone(), container.clone());
        pod.add_container(container);
    }
    pod
}

/// What is to be done with a pod that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Its shim lives: it is as it was.
    Keep,
    /// Its shim is gone: its containers are dead.
    ShimLost,
    /// It was stopped: nothing of it may run.
    EndShim,
    /// It was never whole, or its removal was not ended.
    Remove,
}

/// The rule of recovery.
fn verdict(state: PodState, shim_lives: bool) -> Verdict {
    match (state, shim_lives) {
        (PodState::Creating | PodState::Removing, _) => Verdict::Remove,
        (PodState::Ready, true) => Verdict::Keep,
        (PodState::Ready, false) => Verdict::ShimLost,
        (PodState::NotReady, true) => Verdict::EndShim,
        (PodState::NotReady, false) => Verdict::ShimLost,
    }
}

async fn revive(core: Arc<Core>, pod: Arc<Pod>, rebooted: bool) {
    let _alone = pod.lane.write().await;
    let found = if rebooted { Ok(None) } else { find_shim(&core, &pod).await };
    let shim = found.unwrap_or_else(|failure| {
        tracing::error!(pod = %pod.id, %failure, "whether a pod has a shim is not known; it is ended with the pod");
        None
    });
    let greeted = shim.is_some();
    for container in pod.containers() {
        let report = shim.as_ref().and_then(|found| found.iter().find(|report| report.container == container.id));
        let written = || core.ports.shims.exit_record(&pod.id, &container.id).filter(|_| !rebooted);
        if let Some(report) = report.cloned().or_else(written) {
            apply(&container, &report);
        }
    }
    match verdict(pod.state(), greeted) {
        Verdict::Keep => {
            let unknown: Vec<_> =
                shim.into_iter().flatten().filter(|report| pod.container(&report.container).is_none()).collect();
            forget_unknown(&pod, unknown).await;
            for container in pod.containers() {
                if container.state() == ContainerState::Removing {
                    finish_removal(&core, &pod, &container).await;
                }
            }
        }
        Verdict::ShimLost => events::bury(&core, &pod).await,
        Verdict::EndShim => {
            if let Err(failure) = tear_down::end_shim(&core, &pod).await {
                tracing::warn!(pod = %pod.id, %failure, "a stopped pod's shim goes on");
            }
        }
        Verdict::Remove => {
            pod.observe(PodEvent::RemovalBegun);
            pod.containers().iter().for_each(|container| container.removal_begun());
            tear_down::pod_or_repair(&core, &pod).await;
        }
    }
}

/// Connects to the pod's shim and asks what it holds; none: there is none.
pub(super) async fn find_shim(core: &Arc<Core>, pod: &Arc<Pod>) -> Result<Option<Vec<ContainerReport>>, Failure> {
    let (sender, receiver) = mpsc::channel(limits::SHIM_EVENTS);
    let found = core.ports.shims.connect(&pod.id, sender).await;
    pod.set_shim_unknown(found.is_err());
    let Some(Found { link, greeting }) = found? else { return Ok(None) };
    events::attend(core, pod, link, receiver);
    Ok(Some(greeting.containers))
}

/// Makes a container what its shim, or its exit record, tells of it.
fn apply(container: &Container, report: &ContainerReport) {
    container.start_begun();
    container.started(report.pid, report.started_at);
    if let Some(exit) = report.exit {
        container.exited(exit, exit_reason(&exit), "");
    }
}

/// A shim holds containers without a record: their creation was undone, or their record is damaged.
async fn forget_unknown(pod: &Pod, unknown: Vec<ContainerReport>) {
    let Some(link) = pod.link() else { return };
    for report in unknown {
        tracing::warn!(pod = %pod.id, container = %report.container, "a container without a record is removed");
        for request in [
            Request::KillContainer { container: report.container.clone() },
            Request::RemoveContainer { container: report.container.clone() },
        ] {
            if let Err(failure) = call(link.as_ref(), request).await {
                tracing::warn!(pod = %pod.id, container = %report.container, %failure, "it could not be removed");
            }
        }
    }
}

async fn call(link: &dyn ShimLink, request: Request) -> Result<(), Failure> {
    link.call("-", request, Vec::new()).await.map(|_| ())
}

/// Ends a removal that an earlier daemon began.
async fn finish_removal(core: &Core, pod: &Pod, container: &Arc<Container>) {
    let removed = match pod.link() {
        Some(link) => {
            let kill = Request::KillContainer { container: container.id.clone() };
            call(link.as_ref(), kill).await.and(tear_down::container(core, pod, container).await)
        }
        None => tear_down::container(core, pod, container).await,
    };
    match removed {
        Ok(()) => tear_down::forget_container(core, pod, container),
        Err(failure) => pod.set_leftovers(vec![failure.to_string()]),
    }
}

/// A folder without a readable record: whatever it belonged to is ended.
async fn remove_orphan(core: Arc<Core>, id: PodId) {
    let ended = end_orphaned_shim(&core, &id).await;
    let detached = core.ports.network.detach(&id).await;
    // Which group the kubelet wanted for it stood in the record; this is the one that it has otherwise.
    let group = tear_down::remove_group(&core, Parent::None.group(&core.settings.cgroup_root, &id)).await;
    // Its folder is what the next start would find the shim by.
    let removed = match &ended {
        Ok(()) => core.ports.records.remove_pod(&id).await,
        Err(_) => Ok(()),
    };
    for failure in [ended.err(), detached.err(), group.err(), removed.err()].into_iter().flatten() {
        tracing::warn!(pod = %id, %failure, "the rest of a pod without a record stays until the next start");
    }
}

/// Ends a shim without a record, if there is one.
async fn end_orphaned_shim(core: &Core, id: &PodId) -> Result<(), Failure> {
    let (sender, mut events) = mpsc::channel(limits::SHIM_EVENTS);
    let Some(Found { link, .. }) = core.ports.shims.connect(id, sender).await? else { return Ok(()) };
    tracing::warn!(pod = %id, "a shim without a record is ended");
    // What it tells meanwhile concerns nobody.
    let lost = async { while let Some(ShimEvent::Told(_)) = events.recv().await {} };
    tear_down::end_process(link.as_ref(), id, lost).await
}

/// Writable layers and addresses whose owner has no record.
async fn release_unowned(core: Arc<Core>, layers: Vec<ContainerId>, addresses: Vec<PodId>) {
    for owner in layers.iter().filter(|owner| core.containers.get(owner).is_none()) {
        report(core.ports.images.discard(owner).await, owner.as_str());
    }
    for owner in addresses.iter().filter(|owner| core.pods.get(owner).is_none()) {
        report(core.ports.network.detach(owner).await, owner.as_str());
    }
}

fn report(released: Result<(), Failure>, owner: &str) {
    match released {
        Ok(()) => tracing::info!(owner, "released what an earlier life left"),
        Err(failure) => tracing::warn!(owner, %failure, "what an earlier life left could not be released"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pods_come_back_and_only_with_their_shim_are_they_ready() {
        let table = [
            (PodState::Creating, true, Verdict::Remove),
            (PodState::Creating, false, Verdict::Remove),
            (PodState::Ready, true, Verdict::Keep),
            (PodState::Ready, false, Verdict::ShimLost),
            (PodState::NotReady, true, Verdict::EndShim),
            (PodState::NotReady, false, Verdict::ShimLost),
            (PodState::Removing, true, Verdict::Remove),
            (PodState::Removing, false, Verdict::Remove),
        ];
        for (state, lives, expected) in table {
            assert_eq!(verdict(state, lives), expected, "{state:?}, shim lives: {lives}");
        }
    }
}
