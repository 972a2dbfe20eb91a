//! UpdateContainerResources: changes a container's limits, all of them or none.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto::{self, Field};

/// The annotations in the request are for plugins.
pub async fn answer(
    edge: &Edge,
    request: v1::UpdateContainerResourcesRequest,
) -> Result<v1::UpdateContainerResourcesResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let field = Field::root("linux");
    let resources = from_proto::resources(field, field.required(request.linux)?)?;
    let engine = edge.engine.clone();
    edge.act(async move { engine.update_resources(&id, resources).await }).await?;
    Ok(v1::UpdateContainerResourcesResponse {})
}
