//! The image store: what the engine's port `Images` asks for, on one folder.
//!
//! | File | Holds |
//! |---|---|
//! | `layout` | where things are on disk |
//! | `disk` | the seam to the file system, for what must outlive a crash |
//! | `database`, `records` | what is recorded, durably |
//! | `catalogue`, `snapshot` | the same in memory, and what readers see of it |
//! | `counters` | what pulls have done |
//! | `pull`, `intake`, `obtain` | getting an image: its name, its documents, its layers |
//! | `load`, `save` | images from and to archives |
//! | `trial` | whether overlays work here |
//! | `explain` | in words: whom a pull would ask, what an image is made of |
//! | `containers` | writable layers, and who has which layers |
//! | `collect`, `trash` | getting rid of things |
//! | `read_file` | files of images without a mount |

mod catalogue;
mod collect;
mod containers;
mod counters;
mod database;
mod disk;
mod explain;
mod intake;
mod layout;
mod load;
mod obtain;
mod open;
mod pinned;
mod pull;
mod read_file;
mod records;
mod save;
mod snapshot;
#[cfg(test)]
mod tests;
mod trash;
mod trial;
mod workshop;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cradle_domain::{Class, Classified, ContainerId, Digest, Failure, Reference, Timestamp};
use cradle_engine::ports::{
    Act, ByteStream, Credentials, FilesystemUsage, ImageDetails, ImageUsage, Images, ImagesStatus, LoadedImage,
    PullRequest, RootFilesystem, UserNamespaceSupport,
};
use cradle_engine::spec::UserNamespace;
use cradle_engine::view::ImageView;
use tokio::sync::Semaphore;

pub use catalogue::{Catalogue, Layer};
pub use database::DatabaseError;
pub use disk::Disk;
#[cfg(test)]
pub use disk::FileSystem;
pub use open::{OpenError, Overlays, StoreConfig};
pub use records::{LayerRecord, RootTime};
pub use trash::Trash;
pub use workshop::Workshop;

use containers::{Containers, PrepareError};
use counters::Counters;
use obtain::{LayerOutcome, SettlementOutcome};
use pull::PullOutcome;
use read_file::FileCache;
use snapshot::Image;

use crate::flight::{Flights, Lost};
use crate::manifest::Platform;
use crate::source::Source;
use crate::tree::Usage;

/// The image store. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

type PullKey = (Reference, Option<Credentials>);

struct Inner {
    source: Arc<dyn Source>,
    platform: Platform,
    workshop: Arc<Workshop>,
    catalogue: Arc<Catalogue>,
    containers: Containers,
    pulls: Arc<Flights<PullKey, PullOutcome>>,
    /// One for each pull that is under way.
    pull_permits: Semaphore,
    /// One for each archive that is loaded or saved.
    archive_permits: Arc<Semaphore>,
    /// By diff id.
    layers: Arc<Flights<Digest, LayerOutcome>>,
    /// By chain id.
    settlements: Arc<Flights<Digest, SettlementOutcome>>,
    counters: Arc<Counters>,
    /// Why no overlays are mounted; none: they are.
    overlays: Option<String>,
    user_namespaces: UserNamespaceSupport,
    files: Mutex<FileCache>,
    /// There was a pull since memory was given back last.
    pulled: AtomicBool,
}

impl Inner {
    fn files(&self) -> MutexGuard<'_, FileCache> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn image(&self, id: &Digest) -> Result<Arc<Image>, PrepareError> {
        let found = self.catalogue.snapshot().by_id(id).map(Arc::clone);
        found.ok_or_else(|| PrepareError::NoImage { image: id.clone() })
    }

    fn remove(&self, name: &str) -> Result<(), DatabaseError> {
        let Some(id) = self.catalogue.image_of(name) else { return Ok(()) };
        self.catalogue.remove_image(&id)?;
        self.files().forget(&id);
        let collected = self.collect(Timestamp::now());
        // Who reads of a layer at that moment has kept it; the collector comes by once more.
        self.workshop.trash.wake();
        collected
    }

    fn usage(&self) -> Result<FilesystemUsage, Failure> {
        let layout = &self.workshop.layout;
        let Usage { bytes, inodes } = self.catalogue.usage();
        // Beside the layers there is the database and a handful of folders.
        let database =
            std::fs::metadata(layout.database()).map_or(0, |file| std::os::unix::fs::MetadataExt::blocks(&file) * 512);
        Ok(FilesystemUsage {
            at: Timestamp::now(),
            images_path: layout.layers(),
            images: ImageUsage { bytes: bytes + database, inodes: inodes + 1 },
            containers_path: layout.containers(),
            containers: for_engine(self.containers.total_usage()?),
        })
    }
}

fn for_engine(usage: Usage) -> ImageUsage {
    ImageUsage { bytes: usage.bytes, inodes: usage.inodes }
}

/// Runs what waits for the disk away from the threads that serve requests.
async fn run_blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    tokio::task::spawn_blocking(act).await.map_err(|_panicked| Lost)
}

impl Classified for Lost {
    fn class(&self) -> Class {
        Class::Bug
    }
}

impl Store {
    /// Acts on the disk for the port.
    fn act<T, E>(&self, act: impl FnOnce(&Inner) -> Result<T, E> + Send + 'static) -> Act<'static, T>
    where
        T: Send + 'static,
        E: Send + 'static,
        Failure: From<E>,
    {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { Ok(run_blocking(move || act(&inner)).await??) })
    }
}

impl Images for Store {
    fn find(&self, image: &str) -> Option<Arc<ImageView>> {
        self.inner.catalogue.snapshot().find(image).map(|image| Arc::clone(&image.view))
    }

    fn list(&self) -> Vec<Arc<ImageView>> {
        self.inner.catalogue.snapshot().list()
    }

    fn pull(&self, request: PullRequest) -> Act<'_, Arc<ImageView>> {
        let inner = Arc::clone(&self.inner);
        let PullRequest { reference, credentials, progress } = request;
        Box::pin(async move { Ok(inner.pull(reference, credentials, progress).await?) })
    }

    fn explain<'a>(&'a self, reference: &'a Reference, credentials: Option<&'a Credentials>) -> Act<'a, String> {
        Box::pin(async move { Ok(self.inner.explain(reference, credentials).await?) })
    }

    fn load(&self, archive: Box<dyn ByteStream>) -> Act<'_, Vec<LoadedImage>> {
        Box::pin(Arc::clone(&self.inner).load(archive))
    }

    fn save(&self, images: Vec<String>) -> Act<'_, Box<dyn ByteStream>> {
        Box::pin(Arc::clone(&self.inner).save(images))
    }

    fn describe(&self, image: &str) -> Act<'_, Option<ImageDetails>> {
        let image = image.to_owned();
        self.act(move |store| store.describe(&image))
    }

    fn status(&self) -> ImagesStatus {
        let root_filesystems = match &self.inner.overlays {
            None => "overlay".to_owned(),
            Some(why) => format!("copy: {why}"),
        };
        let user_namespaces = self.inner.user_namespaces.to_string();
        ImagesStatus { pulls: self.inner.counters.read(), root_filesystems, user_namespaces }
    }

    fn shared_bytes(&self) -> Vec<(Digest, u64)> {
        self.inner.catalogue.snapshot().shared_bytes()
    }

    fn remove(&self, image: &str) -> Act<'_, ()> {
        let image = image.to_owned();
        self.act(move |store| store.remove(&image))
    }

    fn prepare(
        &self,
        container: &ContainerId,
        image: &Digest,
        user: Option<&UserNamespace>,
    ) -> Act<'_, RootFilesystem> {
        let (container, image, user) = (container.clone(), image.clone(), user.cloned());
        self.act(move |store| {
            store.containers.prepare(&container, &store.image(&image)?, user.as_ref(), &store.catalogue)
        })
    }

    fn read_file(&self, image: &Digest, path: &str, max_bytes: u64) -> Act<'_, Option<Vec<u8>>> {
        let (image, path) = (image.clone(), path.to_owned());
        self.act(move |store| store.read_file(&image, &path, max_bytes))
    }

    fn lend(&self, owner: &ContainerId, image: &Digest, user: Option<&UserNamespace>) -> Act<'_, Vec<PathBuf>> {
        let (owner, image, user) = (owner.clone(), image.clone(), user.cloned());
        self.act(move |store| store.containers.lend(&owner, &store.image(&image)?, user.as_ref(), &store.catalogue))
    }

    fn discard(&self, container: &ContainerId) -> Act<'_, ()> {
        let container = container.clone();
        self.act(move |store| store.containers.discard(&container, &store.workshop.trash))
    }

    fn writable_path(&self, container: &ContainerId) -> PathBuf {
        self.inner.containers.writable_path(container)
    }

    fn owners(&self) -> Act<'_, Vec<ContainerId>> {
        let owners = self.inner.containers.owners();
        Box::pin(async move { Ok(owners) })
    }

    fn writable_usage(&self, container: &ContainerId) -> Act<'_, Option<ImageUsage>> {
        let container = container.clone();
        self.act(move |store| Ok::<_, Failure>(store.containers.usage(&container)?.map(for_engine)))
    }

    fn usage(&self) -> Act<'_, FilesystemUsage> {
        self.act(Inner::usage)
    }
}
