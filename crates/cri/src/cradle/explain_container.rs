//! ExplainContainer: the steps that start a container, in words.

use cradle_cri_api::cradle_v1 as v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(
    edge: &Edge,
    request: v1::ExplainContainerRequest,
) -> Result<v1::ExplainContainerResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let engine = edge.engine.clone();
    let text = edge.act(async move { engine.explain_container(&id).await }).await?;
    Ok(v1::ExplainContainerResponse { text })
}
