//! RemoveContainer: removes a container, killing it if need be. May be repeated.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(edge: &Edge, request: v1::RemoveContainerRequest) -> Result<v1::RemoveContainerResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let engine = edge.engine.clone();
    edge.act(async move { engine.remove_container(&id).await }).await?;
    Ok(v1::RemoveContainerResponse {})
}
