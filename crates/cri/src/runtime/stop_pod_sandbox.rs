//! StopPodSandbox: kills what runs in a pod and gives its addresses back. The kubelet repeats it.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(edge: &Edge, request: v1::StopPodSandboxRequest) -> Result<v1::StopPodSandboxResponse, Failure> {
    let id = from_proto::id("pod_sandbox_id", request.pod_sandbox_id)?;
    let engine = edge.engine.clone();
    edge.act(async move { engine.stop_pod(&id).await }).await?;
    Ok(v1::StopPodSandboxResponse {})
}
