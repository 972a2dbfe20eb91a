//! StreamContainers: as ListContainers, in several messages.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::batches::{self, Batches};
use crate::edge::Edge;
use crate::from_proto::ContainerFilter;
use crate::to_proto;

pub async fn answer(
    edge: &Edge,
    request: v1::StreamContainersRequest,
) -> Result<Batches<v1::StreamContainersResponse>, Failure> {
    let filter = ContainerFilter::read(request.filter)?;
    let mut containers = edge.engine.containers();
    containers.retain(|container| filter.matches(container));
    Ok(batches::stream(
        containers,
        |container| to_proto::container(container),
        |containers| v1::StreamContainersResponse { containers },
    ))
}
