//! ListPodSandbox: the pods that pass every part of the filter.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::batches;
use crate::edge::Edge;
use crate::from_proto::PodFilter;
use crate::to_proto;

pub async fn answer(edge: &Edge, request: v1::ListPodSandboxRequest) -> Result<v1::ListPodSandboxResponse, Failure> {
    let filter = PodFilter::read(request.filter)?;
    let pods = edge.engine.pods();
    let items = pods.iter().filter(|pod| filter.matches(pod)).map(|pod| to_proto::pod(pod)).collect();
    batches::within_limit(v1::ListPodSandboxResponse { items }, "StreamPodSandboxes")
}
