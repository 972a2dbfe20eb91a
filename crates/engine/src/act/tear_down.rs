//! Taking pods and containers apart, whatever of them is there. Every step may be repeated and succeeds when nothing is
//! left; all steps are tried and all errors told. Stopping, removing, undoing a failed creation and repairing after a
//! crash are these functions.

use std::sync::Arc;

use cradle_domain::lifecycle::pod::PodState;
use cradle_domain::{Class, Failure, PodId};
use cradle_executor::cgroup::Cgroup;
use cradle_shim::protocol::Request;

use super::recover;
use crate::container::Container;
use crate::engine::{Core, detached, joined};
use crate::pod::Pod;
use crate::ports::ShimLink;
use crate::{limits, pod_cgroup, request};

/// Ends the shim's process and with it every process of the pod; what it told last has been dealt with when this returns.
pub(crate) async fn end_shim(core: &Arc<Core>, pod: &Arc<Pod>) -> Result<(), Failure> {
    pod.begin_ending();
    if pod.is_shim_unknown() {
        recover::find_shim(core, pod).await?;
    }
    match pod.link() {
        Some(link) => end_process(link.as_ref(), &pod.id, pod.shim_gone()).await,
        None => Ok(()),
    }
}

/// Ends a shim's process: it is asked to, and killed if it does not. `gone` is over when it has ended.
pub(super) async fn end_process(
    link: &dyn ShimLink,
    pod: &PodId,
    gone: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let mut gone = std::pin::pin!(gone);
    let request_id = request::current();
    let answered = tokio::select! {
        () = &mut gone => return Ok(()),
        answered = link.call(&request_id, Request::Shutdown, Vec::new()) => answered,
    };
    match answered {
        // It has nothing left to do.
        Ok(_) if tokio::time::timeout(limits::SHIM_END, &mut gone).await.is_ok() => return Ok(()),
        Ok(_) => tracing::warn!(%pod, "the shim goes on after its last answer and is killed"),
        Err(failure) => tracing::warn!(%pod, %failure, "the shim did not end by itself and is killed"),
    }
    link.kill();
    tokio::time::timeout(limits::SHIM_KILL, gone).await.map_err(|_| {
        let text = format!("the shim of pod {pod} (process {}) cannot be killed", link.pid());
        Failure::new(Class::Busy, text).with_hint("it hangs in the kernel: see its stack in /proc")
    })
}

/// Asks the shim to end something of the pod, and tells whether there is one. A shim that ends before it answers has left
/// nothing alive; then all that it told has been dealt with when this returns.
pub(crate) async fn ask(pod: &Pod, request: Request) -> Result<Asked, Failure> {
    let Some(link) = pod.link() else { return Ok(Asked::Nobody) };
    match link.call(&request::current(), request, Vec::new()).await {
        Ok(_) => Ok(Asked::Shim),
        Err(failure) if link.is_lost() => {
            let gone = tokio::time::timeout(limits::SHIM_KILL, pod.shim_gone()).await;
            gone.map(|()| Asked::Nobody).map_err(|_| failure)
        }
        Err(failure) => Err(failure),
    }
}

/// Who did what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Shim,
    /// There is no shim, and no process of the pod that it has not killed.
    Nobody,
}

/// Disconnects the pod's network.
pub(crate) async fn network(core: &Core, pod: &Pod) -> Result<(), Failure> {
    if !pod.has_own_network() {
        return Ok(());
    }
    let detached = core.ports.network.detach(&pod.id).await;
    detached.map_err(|failure| failure.context("disconnecting the pod's network"))
}

/// Removes all of a container but its entry in memory: processes, control group, writable layer, record.
pub(crate) async fn container(core: &Core, pod: &Pod, container: &Container) -> Result<(), Failure> {
    let mut errors = Errors::default();
    errors.take(match ask(pod, Request::RemoveContainer { container: container.id.clone() }).await {
        Ok(Asked::Shim) => Ok(()),
        Ok(Asked::Nobody) => remove_group(core, container.cgroup.clone()).await,
        Err(failure) => Err(failure),
    });
    if errors.is_empty() {
        errors.take(core.ports.images.discard(&container.id).await);
    }
    // The record is the intention to do all this: it goes last, and only when all is done.
    if errors.is_empty() {
        errors.take(core.ports.records.remove_container(&container.pod, &container.id).await);
    }
    errors.result(format!("removing container {}", container.id))
}

/// Removes all of a pod, its entry in memory last.
pub(crate) async fn pod(core: &Arc<Core>, pod: &Arc<Pod>) -> Result<(), Failure> {
    let result = detached(whole_pod(core.clone(), pod.clone())).await;
    match &result {
        Ok(()) => {
            core.pods.remove(&pod.id);
            sweep(core);
        }
        Err(failure) => pod.set_leftovers(vec![failure.to_string()]),
    }
    result
}

async fn whole_pod(core: Arc<Core>, pod: Arc<Pod>) -> Result<(), Failure> {
    let (core, pod) = (&core, &pod);
    let mut errors = Errors::default();
    // The intention first: a daemon that comes back goes on with it. Without a record there is nothing to come back to.
    errors.take(core.ports.records.save_pod(&pod.record()).await);
    errors.take(end_shim(core, pod).await);
    // A shim that cannot be ended answers nobody: asking it about each container would only take long.
    let containers = if pod.link().is_none() { pod.containers() } else { Vec::new() };
    // Together: the group of one that cannot be killed is waited for.
    let removals = containers.into_iter().map(|each| request::spawn(container_of(core.clone(), pod.clone(), each)));
    for removal in removals.collect::<Vec<_>>() {
        errors.take(joined(removal.await));
    }
    errors.take(network(core, pod).await);
    if pod_cgroup::is_ours(&pod.cgroup, &pod.id) {
        errors.take(remove_group(core, pod.cgroup.clone()).await);
    }
    if errors.is_empty() {
        errors.take(core.ports.records.remove_pod(&pod.id).await);
    }
    errors.result(format!("taking pod {} apart", pod.id))
}

async fn container_of(core: Arc<Core>, pod: Arc<Pod>, each: Arc<Container>) -> Result<(), Failure> {
    container(&core, &pod, &each).await?;
    forget_container(&core, &pod, &each);
    Ok(())
}

/// Deletes what pods that are gone have left on the machine. Nobody waits for it, nor for its end at a stop of the daemon:
/// the next one begins with it.
pub(crate) fn sweep(core: &Core) {
    let records = core.ports.records.clone();
    let shims = core.pods.all().is_empty().then(|| core.ports.shims.clone());
    tokio::task::spawn_blocking(move || {
        records.delete_removed();
        if let Some(shims) = shims {
            shims.none_left();
        }
    });
}

/// Removes a pod that nobody sees any more; what cannot be undone now is left to the repairer.
pub(crate) async fn pod_or_repair(core: &Arc<Core>, target: &Arc<Pod>) {
    debug_assert!(target.state() == PodState::Removing, "a visible pod must not vanish");
    if let Err(failure) = pod(core, target).await {
        tracing::warn!(pod = %target.id, %failure, "left to the repairer");
        core.repairs.add(target.id.clone());
    }
}

/// Takes a removed container out of memory.
pub(crate) fn forget_container(core: &Core, pod: &Pod, container: &Container) {
    core.containers.remove(&container.id);
    pod.remove_container(&container.id);
    pod.creations.forget(&crate::pod::ContainerKey::of(&container.spec), &container.id);
}

/// Kills whatever is in a control group and removes it with all below it.
pub(crate) async fn remove_group(core: &Core, path: String) -> Result<(), Failure> {
    let layout = core.settings.facts.layout.clone();
    let removing = tokio::task::spawn_blocking(move || -> Result<(), Failure> {
        let group = Cgroup::open(&path, &layout)?;
        group.kill()?;
        Ok(group.remove()?)
    });
    removing.await.unwrap_or_else(|error| Err(Failure::new(Class::Bug, format!("removing a control group: {error}"))))
}

/// Collects the errors of steps that are all tried.
#[derive(Default)]
struct Errors {
    all: Vec<Failure>,
}

impl Errors {
    fn take(&mut self, result: Result<(), Failure>) {
        self.all.extend(result.err());
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The first error's class, and all texts.
    fn result(self, doing: String) -> Result<(), Failure> {
        let mut all = self.all.into_iter();
        let Some(first) = all.next() else { return Ok(()) };
        let more: Vec<_> = all.map(|failure| failure.to_string()).collect();
        let doing = if more.is_empty() { doing } else { format!("{doing} (also: {})", more.join("; ")) };
        Err(first.context(doing))
    }
}
