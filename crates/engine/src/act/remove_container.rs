//! RemoveContainer: killed if it runs, then taken apart. Its log stays: it is the kubelet's.

use std::sync::Arc;

use cradle_domain::Failure;

use super::{stop_container, tear_down};
use crate::container::Container;
use crate::engine::{Core, detached};

pub(crate) async fn remove_container(core: &Arc<Core>, container: Arc<Container>) -> Result<(), Failure> {
    let core = core.clone();
    detached(async move {
        let _alone = container.lane.lock().await;
        let Some(pod) = core.pods.get(&container.pod) else { return Ok(()) };
        if core.containers.get(&container.id).is_none() {
            return Ok(());
        }
        if container.is_alive() {
            stop_container::kill(&core, &container).await?;
        }
        container.removal_begun();
        core.ports.records.save_container(&container.record()).await?;
        tear_down::container(&core, &pod, &container).await?;
        tear_down::forget_container(&core, &pod, &container);
        Ok(())
    })
    .await
}
