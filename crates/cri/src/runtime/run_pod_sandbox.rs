//! RunPodSandbox: makes a pod; when it answers, the pod is ready for containers.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

/// A repeated request joins the first one and gets its answer.
pub async fn answer(edge: &Edge, request: v1::RunPodSandboxRequest) -> Result<v1::RunPodSandboxResponse, Failure> {
    let spec = from_proto::pod(request)?;
    let engine = edge.engine.clone();
    let id = edge.act(async move { engine.run_pod(spec).await }).await?;
    Ok(v1::RunPodSandboxResponse { pod_sandbox_id: id.to_string() })
}
