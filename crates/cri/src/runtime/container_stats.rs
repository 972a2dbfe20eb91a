//! ContainerStats: the figures of one container. One that does not run has only those of its files.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::{from_proto, to_proto};

pub async fn answer(edge: &Edge, request: v1::ContainerStatsRequest) -> Result<v1::ContainerStatsResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let container = edge.engine.find_container(&id)?;
    let engine = edge.engine.clone();
    let usages = edge.act(async move { engine.container_usage(vec![container]).await }).await?;
    Ok(v1::ContainerStatsResponse { stats: usages.first().map(to_proto::container_stats) })
}
