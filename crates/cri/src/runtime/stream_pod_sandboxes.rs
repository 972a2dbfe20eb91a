//! StreamPodSandboxes: as ListPodSandbox, in several messages.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::batches::{self, Batches};
use crate::edge::Edge;
use crate::from_proto::PodFilter;
use crate::to_proto;

pub async fn answer(
    edge: &Edge,
    request: v1::StreamPodSandboxesRequest,
) -> Result<Batches<v1::StreamPodSandboxesResponse>, Failure> {
    let filter = PodFilter::read(request.filter)?;
    let mut pods = edge.engine.pods();
    pods.retain(|pod| filter.matches(pod));
    Ok(batches::stream(
        pods,
        |pod| to_proto::pod(pod),
        |pod_sandboxes| v1::StreamPodSandboxesResponse { pod_sandboxes },
    ))
}
