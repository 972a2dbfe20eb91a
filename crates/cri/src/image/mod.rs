//! The CRI's ImageService: images on this machine.

mod image_fs_info;
mod image_status;
mod list_images;
mod pull_image;
mod remove_image;
mod stream_images;

use std::sync::Arc;

use cradle_cri_api::v1;
use cradle_cri_api::v1::image_service_server::ImageService;
use cradle_engine::view::ImageView;

use crate::edge::Edge;

crate::rpcs::rpcs! {
    ImageService;
    unary {
        list_images(ListImagesRequest) -> ListImagesResponse;
        image_status(ImageStatusRequest) -> ImageStatusResponse;
        pull_image(PullImageRequest) -> PullImageResponse;
        remove_image(RemoveImageRequest) -> RemoveImageResponse;
        image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
    }
    streaming {
        stream_images(StreamImagesRequest) -> StreamImagesStream of StreamImagesResponse;
    }
    unimplemented {}
    unimplemented_streaming {}
}

/// The images that pass the filter: all of them, or the one that it names.
fn filtered(edge: &Edge, filter: Option<v1::ImageFilter>) -> Vec<Arc<ImageView>> {
    match filter.and_then(|filter| filter.image).map(|image| image.image) {
        Some(name) if !name.is_empty() => edge.images.find(&name).into_iter().collect(),
        _ => edge.images.list(),
    }
}
