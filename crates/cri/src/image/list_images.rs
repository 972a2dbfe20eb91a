//! ListImages: the images that pass the filter.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use super::filtered;
use crate::edge::Edge;
use crate::{batches, to_proto};

pub async fn answer(edge: &Edge, request: v1::ListImagesRequest) -> Result<v1::ListImagesResponse, Failure> {
    let images = filtered(edge, request.filter).iter().map(|image| to_proto::image(image)).collect();
    batches::within_limit(v1::ListImagesResponse { images }, "StreamImages")
}
