//! ListPodSandboxStats: the figures of the ready pods that pass the filter.

use cradle_cri_api::v1;
use cradle_domain::Failure;
use cradle_engine::usage::PodUsage;

use crate::edge::Edge;
use crate::from_proto::PodFilter;
use crate::{batches, to_proto};

pub async fn answer(
    edge: &Edge,
    request: v1::ListPodSandboxStatsRequest,
) -> Result<v1::ListPodSandboxStatsResponse, Failure> {
    let stats = usages(edge, request.filter).await?.iter().map(to_proto::pod_stats).collect();
    batches::within_limit(v1::ListPodSandboxStatsResponse { stats }, "StreamPodSandboxStats")
}

/// What the pods that pass the filter use.
pub async fn usages(edge: &Edge, filter: Option<v1::PodSandboxStatsFilter>) -> Result<Vec<PodUsage>, Failure> {
    let filter = PodFilter::of_stats(filter);
    let mut pods = edge.engine.pods();
    pods.retain(|pod| filter.matches(pod));
    let engine = edge.engine.clone();
    edge.act(async move { engine.pod_usage(pods).await }).await
}
