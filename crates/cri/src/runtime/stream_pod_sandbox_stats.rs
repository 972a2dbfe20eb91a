//! StreamPodSandboxStats: as ListPodSandboxStats, in several messages.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use super::list_pod_sandbox_stats::usages;
use crate::batches::{self, Batches};
use crate::edge::Edge;
use crate::to_proto;

pub async fn answer(
    edge: &Edge,
    request: v1::StreamPodSandboxStatsRequest,
) -> Result<Batches<v1::StreamPodSandboxStatsResponse>, Failure> {
    let usages = usages(edge, request.filter).await?;
    let message = |pod_sandbox_stats| v1::StreamPodSandboxStatsResponse { pod_sandbox_stats };
    Ok(batches::stream(usages, to_proto::pod_stats, message))
}
