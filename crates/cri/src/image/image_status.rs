//! ImageStatus: one image. An image that is not there is an answer without `image`, not an error.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::{from_proto, to_proto};

pub async fn answer(edge: &Edge, request: v1::ImageStatusRequest) -> Result<v1::ImageStatusResponse, Failure> {
    let name = from_proto::image_name(request.image)?;
    let Some(image) = edge.images.find(&name) else { return Ok(v1::ImageStatusResponse::default()) };
    Ok(v1::ImageStatusResponse {
        image: Some(to_proto::image(&image)),
        info: if request.verbose { to_proto::image_info(&image) } else { Default::default() },
    })
}
