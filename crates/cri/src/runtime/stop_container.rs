//! StopContainer: the stop signal, and the kill signal when the grace period is over. May be repeated.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(edge: &Edge, request: v1::StopContainerRequest) -> Result<v1::StopContainerResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let grace = from_proto::grace_period(request.timeout)?;
    let engine = edge.engine.clone();
    edge.act(async move { engine.stop_container(&id, grace).await }).await?;
    Ok(v1::StopContainerResponse {})
}
