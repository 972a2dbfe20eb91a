//! RemovePodSandbox: the pod is gone from lists and its name is free at once; what cannot be undone now is repaired.

use std::sync::Arc;

use cradle_domain::Failure;
use cradle_domain::lifecycle::pod::{PodEvent, PodState};

use super::tear_down;
use crate::engine::{Core, detached};
use crate::pod::Pod;

pub(crate) async fn remove_pod(core: &Arc<Core>, pod: Arc<Pod>) -> Result<(), Failure> {
    let core = core.clone();
    detached(async move {
        let _alone = pod.lane.write().await;
        if core.pods.get(&pod.id).is_none() {
            return Ok(());
        }
        let first = pod.state() != PodState::Removing;
        pod.observe(PodEvent::RemovalBegun);
        if first {
            for container in pod.containers() {
                container.removal_begun();
            }
        }
        core.creations.forget(&pod.key, &pod.id);
        tear_down::pod_or_repair(&core, &pod).await;
        Ok(())
    })
    .await
}
