//! StreamContainerStats: as ListContainerStats, in several messages.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use super::list_container_stats::usages;
use crate::batches::{self, Batches};
use crate::edge::Edge;
use crate::to_proto;

pub async fn answer(
    edge: &Edge,
    request: v1::StreamContainerStatsRequest,
) -> Result<Batches<v1::StreamContainerStatsResponse>, Failure> {
    let usages = usages(edge, request.filter).await?;
    let message = |container_stats| v1::StreamContainerStatsResponse { container_stats };
    Ok(batches::stream(usages, to_proto::container_stats, message))
}
