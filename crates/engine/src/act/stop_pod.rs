//! StopPodSandbox: every container is killed and the network released; asked again, what is left is released again.

use std::sync::Arc;

use cradle_domain::Failure;
use cradle_domain::lifecycle::pod::{PodEvent, PodState};

use super::tear_down;
use crate::engine::{Core, detached};
use crate::pod::Pod;

pub(crate) async fn stop_pod(core: &Arc<Core>, pod: Arc<Pod>) -> Result<(), Failure> {
    let core = core.clone();
    detached(async move {
        let _alone = pod.lane.write().await;
        match pod.state() {
            // It was being built or removed while this request waited: nothing of it is left to stop.
            PodState::Removing => return Ok(()),
            PodState::Creating | PodState::Ready | PodState::NotReady => {}
        }
        // A shim that cannot be killed keeps the network's namespace, not its address.
        let ended = tear_down::end_shim(&core, &pod).await;
        let was = pod.state();
        pod.observe(PodEvent::Stopped);
        if was != pod.state() {
            core.ports.records.save_pod(&pod.record()).await?;
        }
        let released = tear_down::network(&core, &pod).await;
        ended.and(released).map_err(|failure| failure.context(format!("stopping pod {}", pod.id)))
    })
    .await
}
