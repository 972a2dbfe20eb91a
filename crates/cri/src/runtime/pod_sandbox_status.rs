//! PodSandboxStatus: one pod in full.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::{from_proto, to_proto};

/// Without the statuses of the pod's containers: only clients of GetContainerEvents may rely on them.
pub async fn answer(
    edge: &Edge,
    request: v1::PodSandboxStatusRequest,
) -> Result<v1::PodSandboxStatusResponse, Failure> {
    let id = from_proto::id("pod_sandbox_id", request.pod_sandbox_id)?;
    let pod = edge.engine.find_pod(&id)?;
    Ok(v1::PodSandboxStatusResponse {
        status: Some(to_proto::pod_status(&pod)),
        info: if request.verbose { to_proto::pod_info(&pod) } else { Default::default() },
        ..Default::default()
    })
}
