//! CreateContainer: prepares a container in a ready pod; nothing of it runs yet.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

/// The pod's configuration in the request is not looked at: the one that the pod was made with counts.
pub async fn answer(edge: &Edge, request: v1::CreateContainerRequest) -> Result<v1::CreateContainerResponse, Failure> {
    let pod = from_proto::id("pod_sandbox_id", request.pod_sandbox_id)?;
    let spec = from_proto::container(request.config)?;
    let engine = edge.engine.clone();
    let id = edge.act(async move { engine.create_container(&pod, spec).await }).await?;
    Ok(v1::CreateContainerResponse { container_id: id.to_string() })
}
