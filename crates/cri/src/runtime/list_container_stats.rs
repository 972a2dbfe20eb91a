//! ListContainerStats: the figures of the running containers that pass the filter.

use cradle_cri_api::v1;
use cradle_domain::Failure;
use cradle_engine::usage::ContainerUsage;

use crate::edge::Edge;
use crate::from_proto::ContainerFilter;
use crate::{batches, to_proto};

pub async fn answer(
    edge: &Edge,
    request: v1::ListContainerStatsRequest,
) -> Result<v1::ListContainerStatsResponse, Failure> {
    let stats = usages(edge, request.filter).await?.iter().map(to_proto::container_stats).collect();
    batches::within_limit(v1::ListContainerStatsResponse { stats }, "StreamContainerStats")
}

/// What the containers that pass the filter use.
pub async fn usages(edge: &Edge, filter: Option<v1::ContainerStatsFilter>) -> Result<Vec<ContainerUsage>, Failure> {
    let filter = ContainerFilter::of_stats(filter);
    let mut containers = edge.engine.containers();
    containers.retain(|container| filter.matches(container));
    let engine = edge.engine.clone();
    edge.act(async move { engine.container_usage(containers).await }).await
}
