//! StreamImages: as ListImages, in several messages.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use super::filtered;
use crate::batches::{self, Batches};
use crate::edge::Edge;
use crate::to_proto;

pub async fn answer(
    edge: &Edge,
    request: v1::StreamImagesRequest,
) -> Result<Batches<v1::StreamImagesResponse>, Failure> {
    let images = filtered(edge, request.filter);
    Ok(batches::stream(images, |image| to_proto::image(image), |images| v1::StreamImagesResponse { images }))
}
