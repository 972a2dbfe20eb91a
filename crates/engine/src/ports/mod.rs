//! What the engine needs of the world, as traits: images, pod networks, records and shims. Each has one implementation
//! in a crate of its own and a fake in `testkit`; both keep the promises written here.

mod images;
mod network;
mod records;
mod shims;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use cradle_domain::Failure;

pub use cradle_executor::plan::ImageOwners;
pub use images::{
    ByteStream, Credentials, Durations, FilesystemUsage, ImageDetails, ImageUsage, Images, ImagesStatus, LayerDetails,
    LayerProgress, LayerState, LoadedImage, ProgressSink, PullCounters, PullRequest, RootFilesystem,
    UserNamespaceSupport,
};
pub use network::{Attachment, NetworkAttachment, PodNetwork};
pub use records::{ContainerRecord, LoadedRecords, PodRecord, Records};
pub use shims::{Found, ShimEvent, ShimLink, Shims};

/// The world, as the engine sees it.
pub struct Ports {
    pub records: Arc<dyn Records>,
    pub images: Arc<dyn Images>,
    pub network: Arc<dyn PodNetwork>,
    pub shims: Arc<dyn Shims>,
}

/// A port's asynchronous act.
pub type Act<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;
