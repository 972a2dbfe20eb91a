//! What readers see: all images at one moment. Made anew at each change, never changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cradle_domain::{Digest, Reference};
use cradle_engine::view::{ImageConfig, ImageView};

use super::catalogue::Layer;
use super::pinned::Pinned;
use super::records::{ImageRecord, ReferenceRecord};
use crate::manifest::ImageKind;
use crate::tree::RootDirectory;

/// The images of one moment.
#[derive(Default)]
pub struct Snapshot {
    images: HashMap<Digest, Arc<Image>>,
    names: HashMap<String, Digest>,
    /// Layers of images that lack others: kept, so that a pull brings only what is missing.
    _of_damaged: Vec<Arc<Layer>>,
}

/// An image all of whose layers are there.
pub struct Image {
    pub view: Arc<ImageView>,
    pub kind: ImageKind,
    /// The top one first, each once.
    pub stack: Vec<Arc<Layer>>,
    /// Owner and mode of `/` where they are not the usual ones.
    pub root: Option<RootDirectory>,
}

/// An image as it is recorded, with its configuration read.
#[derive(Clone)]
pub struct KnownImage {
    pub record: ImageRecord,
    pub config: Arc<ImageConfig>,
    pub config_bytes: u64,
}

/// The root of an image that says nothing of it.
pub const USUAL_ROOT: RootDirectory = RootDirectory { mode: 0o755, uid: 0, gid: 0 };

impl Snapshot {
    pub fn build(
        layers: &HashMap<Digest, Arc<Layer>>,
        images: &BTreeMap<Digest, KnownImage>,
        references: &BTreeMap<String, ReferenceRecord>,
        pinned: &Pinned,
    ) -> Self {
        let mut snapshot = Snapshot::default();
        let mut names: HashMap<&Digest, Vec<&str>> = HashMap::new();
        for (name, reference) in references {
            names.entry(&reference.image).or_default().push(name);
        }
        for (id, known) in images {
            let found: Vec<Arc<Layer>> = known.record.layers.iter().filter_map(|layer| layer.find_in(layers)).collect();
            if found.len() < known.record.layers.len() {
                snapshot._of_damaged.extend(found);
                continue;
            }
            let names = names.get(id).map_or(&[][..], Vec::as_slice);
            let image = Image::new(id, known, &found, names, pinned);
            snapshot.names.extend(names.iter().map(|name| ((*name).to_owned(), id.clone())));
            snapshot.images.insert(id.clone(), Arc::new(image));
        }
        snapshot
    }

    /// How many images are listed.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    pub fn by_id(&self, id: &Digest) -> Option<&Arc<Image>> {
        self.images.get(id)
    }

    /// The image with this id (with or without `sha256:`), tag or digest reference.
    pub fn find(&self, name: &str) -> Option<&Arc<Image>> {
        if let Ok(id) = Digest::parse(name).or_else(|_| Digest::parse(&format!("sha256:{name}"))) {
            return self.images.get(&id);
        }
        self.images.get(self.names.get(&key_of(&Reference::parse(name).ok()?))?)
    }

    /// For each image, the bytes of its layers that other images have as well.
    pub fn shared_bytes(&self) -> Vec<(Digest, u64)> {
        let mut owners: HashMap<u64, usize> = HashMap::new();
        for layer in self.images.values().flat_map(|image| &image.stack) {
            *owners.entry(layer.record.number).or_default() += 1;
        }
        let is_shared = |layer: &&Arc<Layer>| owners.get(&layer.record.number).is_some_and(|owners| *owners > 1);
        let shared = |image: &Image| image.stack.iter().filter(is_shared).map(|layer| layer.record.bytes).sum();
        self.images.iter().map(|(id, image)| (id.clone(), shared(image))).collect()
    }

    pub fn list(&self) -> Vec<Arc<ImageView>> {
        self.images.values().map(|image| Arc::clone(&image.view)).collect()
    }
}

/// The name under which a reference is recorded. One with tag and digest means the digest.
pub fn key_of(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest),
        None => reference.to_string(),
    }
}

impl Image {
    fn new(id: &Digest, known: &KnownImage, layers: &[Arc<Layer>], names: &[&str], pinned: &Pinned) -> Self {
        // The same layer twice is as good as its upper one alone, and overlayfs refuses it.
        let mut stack: Vec<Arc<Layer>> = Vec::with_capacity(layers.len());
        for layer in layers.iter().rev() {
            if !stack.iter().any(|above| above.record.number == layer.record.number) {
                stack.push(Arc::clone(layer));
            }
        }
        let root = stack.iter().find_map(|layer| layer.record.root).filter(|root| *root != USUAL_ROOT);
        let bytes: u64 = stack.iter().map(|layer| layer.record.bytes).sum();
        let (digests, tags): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains('@'));
        let view = ImageView {
            id: id.clone(),
            tags: tags.iter().filter_map(|tag| Reference::parse(tag).ok()).collect(),
            digests: digests.iter().map(|name| (*name).to_owned()).collect(),
            size_bytes: bytes + known.config_bytes,
            pinned: names.iter().any(|name| pinned.matches(name)),
            config: Arc::clone(&known.config),
            layers: known.record.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
        };
        Image { view: Arc::new(view), kind: known.record.kind, stack, root }
    }
}
