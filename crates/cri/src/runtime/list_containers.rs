//! ListContainers: the containers that pass every part of the filter.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::batches;
use crate::edge::Edge;
use crate::from_proto::ContainerFilter;
use crate::to_proto;

pub async fn answer(edge: &Edge, request: v1::ListContainersRequest) -> Result<v1::ListContainersResponse, Failure> {
    let filter = ContainerFilter::read(request.filter)?;
    let containers = edge.engine.containers();
    let containers = containers.iter().filter(|container| filter.matches(container));
    let containers = containers.map(|container| to_proto::container(container)).collect();
    batches::within_limit(v1::ListContainersResponse { containers }, "StreamContainers")
}
