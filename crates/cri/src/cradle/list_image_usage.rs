//! ListImageUsage: what each image takes, and what of it others have as well.

use std::collections::HashMap;

use cradle_cri_api::cradle_v1 as v1;
use cradle_domain::Failure;
use cradle_engine::view::ImageView;

use crate::edge::Edge;

pub async fn answer(edge: &Edge, _request: v1::ListImageUsageRequest) -> Result<v1::ListImageUsageResponse, Failure> {
    let shared: HashMap<_, _> = edge.images.shared_bytes().into_iter().collect();
    let listed = edge.images.list();
    let images = listed.iter().map(|image| usage(image, shared.get(&image.id).copied().unwrap_or_default()));
    Ok(v1::ListImageUsageResponse { images: images.collect() })
}

/// What an image takes.
pub fn usage(image: &ImageView, shared_bytes: u64) -> v1::ImageUsage {
    v1::ImageUsage { id: image.id.to_string(), size_bytes: image.size_bytes, shared_bytes }
}
