//! PullImage: fetches an image and answers with its id.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

/// The client's leaving gives up its interest; others who want the same image still get it.
pub async fn answer(edge: &Edge, request: v1::PullImageRequest) -> Result<v1::PullImageResponse, Failure> {
    let wish = from_proto::pull(request)?;
    let images = edge.images.clone();
    let image = edge.act_while_asked(async move { images.pull(wish).await }).await?;
    Ok(v1::PullImageResponse { image_ref: image.id.to_string() })
}
