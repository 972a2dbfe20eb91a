//! ReopenContainerLog: opens a container's log file anew after the kubelet has moved it away.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(
    edge: &Edge,
    request: v1::ReopenContainerLogRequest,
) -> Result<v1::ReopenContainerLogResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let engine = edge.engine.clone();
    edge.act(async move { engine.reopen_log(&id).await }).await?;
    Ok(v1::ReopenContainerLogResponse {})
}
