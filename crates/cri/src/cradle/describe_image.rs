//! DescribeImage: what an image is made of.

use cradle_cri_api::cradle_v1 as v1;
use cradle_domain::{Class, Failure};
use cradle_engine::ports::{ImageDetails, LayerDetails};

use super::list_image_usage::usage;
use crate::edge::Edge;
use crate::from_proto::Field;

pub async fn answer(edge: &Edge, request: v1::DescribeImageRequest) -> Result<v1::DescribeImageResponse, Failure> {
    let name = Field::root("image").nonempty(request.image)?;
    let images = edge.images.clone();
    let asked = name.clone();
    let details = edge.act_while_asked(async move { images.describe(&asked).await }).await?;
    let none = || Failure::new(Class::NotFound, format!("there is no image {name:?}"));
    details.map(to_proto).ok_or_else(none)
}

fn to_proto(image: ImageDetails) -> v1::DescribeImageResponse {
    v1::DescribeImageResponse {
        id: image.view.id.to_string(),
        manifest_digest: image.manifest.to_string(),
        manifest_media_type: image.manifest_media_type,
        config: image.config,
        layers: image.layers.iter().map(layer).collect(),
        usage: Some(usage(&image.view, image.shared_bytes)),
    }
}

fn layer(layer: &LayerDetails) -> v1::ImageLayer {
    v1::ImageLayer {
        digest: layer.digest.to_string(),
        compressed_bytes: layer.compressed_bytes,
        diff_id: layer.diff_id.to_string(),
        unpacked_bytes: layer.unpacked_bytes,
        blob_kept: layer.is_blob_kept,
    }
}
