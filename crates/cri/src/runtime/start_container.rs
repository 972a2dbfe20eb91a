//! StartContainer: runs a created container.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(edge: &Edge, request: v1::StartContainerRequest) -> Result<v1::StartContainerResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let engine = edge.engine.clone();
    edge.act(async move { engine.start_container(&id).await }).await?;
    Ok(v1::StartContainerResponse {})
}
