//! ImageFsInfo: what images and containers' writable layers take.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::to_proto;

pub async fn answer(edge: &Edge, _request: v1::ImageFsInfoRequest) -> Result<v1::ImageFsInfoResponse, Failure> {
    let images = edge.images.clone();
    let usage = edge.act(async move { images.usage().await }).await?;
    Ok(v1::ImageFsInfoResponse {
        image_filesystems: vec![to_proto::filesystem(usage.at, &usage.images_path, usage.images)],
        container_filesystems: vec![to_proto::filesystem(usage.at, &usage.containers_path, usage.containers)],
    })
}
