//! ContainerStatus: one container in full.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::{from_proto, to_proto};

pub async fn answer(edge: &Edge, request: v1::ContainerStatusRequest) -> Result<v1::ContainerStatusResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let container = edge.engine.find_container(&id)?;
    let mounted_image = |name: &str| match edge.images.find(name) {
        Some(image) => image.digests.first().cloned().unwrap_or_else(|| image.id.to_string()),
        None => name.to_owned(),
    };
    Ok(v1::ContainerStatusResponse {
        status: Some(to_proto::container_status(&container, mounted_image)),
        info: if request.verbose { to_proto::container_info(&container) } else { Default::default() },
    })
}
