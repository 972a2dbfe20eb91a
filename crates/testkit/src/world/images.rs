//! One image, and writable layers that are names alone.

use std::path::PathBuf;
use std::sync::Arc;

use cradle_domain::{Class, ContainerId, Digest, Failure, Reference, Timestamp};
use cradle_engine::ports::{
    Act, ByteStream, Credentials, FilesystemUsage, ImageDetails, ImageOwners, ImageUsage, Images, ImagesStatus,
    LoadedImage, PullCounters, PullRequest, RootFilesystem, UserNamespaceSupport,
};
use cradle_engine::spec::UserNamespace;
use cradle_engine::view::{ImageConfig, ImageView};

use super::Life;

pub(super) struct FakeImages {
    pub life: Arc<Life>,
}

/// The image that every world has: it runs `/bin/app`.
pub fn image() -> Arc<ImageView> {
    Arc::new(ImageView {
        id: Digest::from_sha256([7; 32]),
        tags: Vec::new(),
        digests: Vec::new(),
        size_bytes: 1,
        pinned: false,
        config: Arc::new(ImageConfig { entrypoint: vec!["/bin/app".into()], ..ImageConfig::default() }),
        layers: vec![Digest::from_sha256([8; 32])],
    })
}

fn no_archives() -> Failure {
    Failure::new(Class::Unimplemented, "there are no archives in this world")
}

impl FakeImages {
    fn layers(container: &ContainerId) -> RootFilesystem {
        let own = PathBuf::from("/layers").join(container.as_str());
        RootFilesystem {
            lower: vec!["/layers/base".into()],
            upper: own.join("fs"),
            work: own.join("work"),
            owners: ImageOwners::Original,
        }
    }
}

impl Images for FakeImages {
    fn find(&self, image: &str) -> Option<Arc<ImageView>> {
        let state = self.life.world().state();
        state.images.iter().find(|view| image == "image" || view.id.as_str() == image).cloned()
    }

    fn list(&self) -> Vec<Arc<ImageView>> {
        self.life.world().state().images.clone()
    }

    fn pull(&self, request: PullRequest) -> Act<'_, Arc<ImageView>> {
        let text = format!("{} cannot be pulled in this world", request.reference);
        Box::pin(std::future::ready(Err(Failure::new(Class::Unavailable, text))))
    }

    fn explain<'a>(&'a self, reference: &'a Reference, _credentials: Option<&'a Credentials>) -> Act<'a, String> {
        Box::pin(std::future::ready(Ok(format!("{reference}: nobody would be asked in this world"))))
    }

    fn load(&self, _archive: Box<dyn ByteStream>) -> Act<'_, Vec<LoadedImage>> {
        Box::pin(std::future::ready(Err(no_archives())))
    }

    fn save(&self, _images: Vec<String>) -> Act<'_, Box<dyn ByteStream>> {
        Box::pin(std::future::ready(Err(no_archives())))
    }

    fn describe(&self, _image: &str) -> Act<'_, Option<ImageDetails>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn status(&self) -> ImagesStatus {
        let (root_filesystems, user_namespaces) = ("overlay".to_owned(), UserNamespaceSupport::Mapped.to_string());
        ImagesStatus { pulls: PullCounters::default(), root_filesystems, user_namespaces }
    }

    fn shared_bytes(&self) -> Vec<(Digest, u64)> {
        Vec::new()
    }

    fn remove(&self, image: &str) -> Act<'_, ()> {
        let image = image.to_owned();
        Box::pin(self.life.act("remove_image", move |state| {
            state.images.retain(|view| view.id.as_str() != image);
            Ok(())
        }))
    }

    fn prepare(
        &self,
        container: &ContainerId,
        _image: &Digest,
        _user: Option<&UserNamespace>,
    ) -> Act<'_, RootFilesystem> {
        let container = container.clone();
        Box::pin(self.life.act("prepare", move |state| {
            let root = Self::layers(&container);
            state.layers.insert(container);
            Ok(root)
        }))
    }

    fn read_file(&self, _image: &Digest, _path: &str, _max_bytes: u64) -> Act<'_, Option<Vec<u8>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn lend(&self, _owner: &ContainerId, _image: &Digest, _user: Option<&UserNamespace>) -> Act<'_, Vec<PathBuf>> {
        Box::pin(std::future::ready(Ok(vec!["/layers/base".into()])))
    }

    fn discard(&self, container: &ContainerId) -> Act<'_, ()> {
        let container = container.clone();
        Box::pin(self.life.act("discard", move |state| {
            state.layers.remove(&container);
            Ok(())
        }))
    }

    fn writable_path(&self, container: &ContainerId) -> PathBuf {
        Self::layers(container).upper
    }

    fn owners(&self) -> Act<'_, Vec<ContainerId>> {
        Box::pin(self.life.act("layer_owners", |state| Ok(state.layers.iter().cloned().collect())))
    }

    fn writable_usage(&self, _container: &ContainerId) -> Act<'_, Option<ImageUsage>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn usage(&self) -> Act<'_, FilesystemUsage> {
        Box::pin(std::future::ready(Ok(FilesystemUsage {
            at: Timestamp::now(),
            images_path: "/layers".into(),
            images: ImageUsage::default(),
            containers_path: "/layers".into(),
            containers: ImageUsage::default(),
        })))
    }
}
