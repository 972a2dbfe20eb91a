//! RemoveImage: removes an image with all its tags, by whichever name. May be repeated.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(edge: &Edge, request: v1::RemoveImageRequest) -> Result<v1::RemoveImageResponse, Failure> {
    let name = from_proto::image_name(request.image)?;
    let images = edge.images.clone();
    edge.act(async move { images.remove(&name).await }).await?;
    Ok(v1::RemoveImageResponse {})
}
