//! RemovePodSandbox: removes a pod with all its containers, running or not. May be repeated.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(
    edge: &Edge,
    request: v1::RemovePodSandboxRequest,
) -> Result<v1::RemovePodSandboxResponse, Failure> {
    let id = from_proto::id("pod_sandbox_id", request.pod_sandbox_id)?;
    let engine = edge.engine.clone();
    edge.act(async move { engine.remove_pod(&id).await }).await?;
    Ok(v1::RemovePodSandboxResponse {})
}
