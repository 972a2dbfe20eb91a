//! What there is, in memory and in the database, changed together: the database first, then memory, then the snapshot
//! that readers see. So nothing is listed that would not outlive a power cut.
//!
//! A layer is in use as long as someone holds its [`Layer`]: an image of the snapshot, a container, a pull. One that only
//! this table holds is garbage.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use cradle_domain::{Digest, Timestamp};
use cradle_engine::view::ImageConfig;
use rustix::fs::{CWD, FileType, statat};

use super::database::{Contents, Database, DatabaseError, NewImage, OldImage};
use super::layout::Layout;
use super::pinned::Pinned;
use super::records::{ImageLayer, ImageRecord, LayerRecord, ReferenceRecord, RootTime};
use super::snapshot::{KnownImage, Snapshot};
use crate::limits::UNNAMED_LAYER_GRACE;
use crate::manifest::ImageKind;
use crate::tree::Usage;

/// A layer on disk.
pub struct Layer {
    pub key: Digest,
    pub record: LayerRecord,
    pub path: PathBuf,
    /// An image has named it: from then on it is garbage as soon as none does.
    named: AtomicBool,
}

/// The table of what there is.
pub struct Catalogue {
    database: Database,
    layout: Layout,
    pinned: Pinned,
    /// Held over a change of database and memory.
    writing: Mutex<()>,
    state: Mutex<State>,
    snapshot: RwLock<Arc<Snapshot>>,
}

#[derive(Default)]
struct State {
    layers: HashMap<Digest, Arc<Layer>>,
    images: BTreeMap<Digest, KnownImage>,
    references: BTreeMap<String, ReferenceRecord>,
}

impl Layer {
    fn new(key: Digest, record: LayerRecord, layout: &Layout) -> Arc<Self> {
        let path = layout.layer(record.number);
        Arc::new(Layer { key, record, path, named: AtomicBool::new(false) })
    }

    /// Whether the layer is on disk as it was committed, as far as one stat(2) tells.
    pub fn is_whole(&self) -> bool {
        statat(CWD, &self.path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && RootTime::of_stat(&stat) == self.record.root_time
        })
    }

    /// Tells that an image has or had it.
    pub fn mark_named(&self) {
        self.named.store(true, Ordering::Relaxed);
    }

    fn is_past_grace(&self, now: Timestamp) -> bool {
        let grace = i64::try_from(UNNAMED_LAYER_GRACE.as_nanos()).unwrap_or(i64::MAX);
        self.named.load(Ordering::Relaxed) || now.nanos() - self.record.committed_at.nanos() > grace
    }
}

impl ImageLayer {
    /// The layer on disk: its own, or that of its place in the chain.
    pub fn find_in(&self, layers: &HashMap<Digest, Arc<Layer>>) -> Option<Arc<Layer>> {
        let alone =
            layers.get(&self.diff_id).filter(|layer| layer.record.stands_alone || self.diff_id == self.chain_id);
        alone.or_else(|| layers.get(&self.chain_id)).map(Arc::clone)
    }
}

impl Catalogue {
    /// Takes over what the database holds; layers whose folders are missing or changed are left out.
    pub fn new(database: Database, contents: Contents, layout: Layout, pinned: Pinned) -> Result<Self, DatabaseError> {
        let mut state = State { references: contents.references.into_iter().collect(), ..State::default() };
        let mut damaged = Vec::new();
        for (key, record) in contents.layers {
            let layer = Layer::new(key.clone(), record, &layout);
            if layer.is_whole() {
                state.layers.insert(key, layer);
            } else {
                tracing::error!(layer = %key, path = %layer.path.display(), "a layer is missing or damaged; the next pull of its images fetches it again");
                damaged.push(layer.key.clone());
            }
        }
        database.remove_layers(&damaged)?;
        for (id, record, config) in contents.images {
            match known_image(record, &config) {
                Ok(known) => drop(state.images.insert(id, known)),
                Err(error) => tracing::error!(image = %id, %error, "an image's configuration cannot be read; left out"),
            }
        }
        let catalogue = Catalogue {
            database,
            layout,
            pinned,
            writing: Mutex::new(()),
            state: Mutex::new(state),
            snapshot: RwLock::default(),
        };
        catalogue.publish(&mut catalogue.state());
        Ok(catalogue)
    }

    /// The images at this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The layer on disk, if it is there and whole.
    pub fn layer(&self, wanted: &ImageLayer) -> Option<Arc<Layer>> {
        let found = wanted.find_in(&self.state().layers)?;
        if found.is_whole() {
            return Some(found);
        }
        self.mark_damaged(&found);
        None
    }

    /// All layers on disk.
    pub fn layers(&self) -> Vec<Arc<Layer>> {
        self.state().layers.values().map(Arc::clone).collect()
    }

    /// What a name stands for, if its image is whole.
    pub fn reference(&self, name: &str) -> Option<ReferenceRecord> {
        let reference = self.state().references.get(name).cloned()?;
        self.snapshot().by_id(&reference.image).is_some().then_some(reference)
    }

    /// Whether a repository has ever been pulled from.
    pub fn knows_repository(&self, repository: &str) -> bool {
        let prefix = format!("{repository}@");
        self.state().references.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
    }

    /// What is recorded of an image.
    pub fn image_record(&self, id: &Digest) -> Option<ImageRecord> {
        self.state().images.get(id).map(|known| known.record.clone())
    }

    /// Configurations and manifests that were fetched before.
    pub fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, DatabaseError> {
        self.database.document(digest)
    }

    pub fn add_layer(&self, key: Digest, record: LayerRecord) -> Result<Arc<Layer>, DatabaseError> {
        let _writing = self.writing();
        self.database.insert_layer(&key, &record)?;
        let layer = Layer::new(key.clone(), record, &self.layout);
        let mut state = self.state();
        state.layers.insert(key, Arc::clone(&layer));
        // Images that lacked it may be whole again.
        if self.snapshot().len() < state.images.len() {
            self.publish(&mut state);
        }
        Ok(layer)
    }

    pub fn add_image(
        &self,
        mut image: NewImage,
        config: Arc<ImageConfig>,
        config_bytes: u64,
    ) -> Result<(), DatabaseError> {
        let _writing = self.writing();
        // An image can be reached through several indexes; all are kept as long as it is.
        if let Some(known) = self.state().images.get(&image.id) {
            let earlier = known.record.documents.iter().filter(|digest| !image.record.documents.contains(digest));
            let earlier: Vec<Digest> = earlier.cloned().collect();
            image.record.documents.splice(0..0, earlier);
        }
        self.database.insert_image(&image)?;
        let NewImage { id, record, references, .. } = image;
        let mut state = self.state();
        state.images.insert(id, KnownImage { record, config, config_bytes });
        state.references.extend(references);
        self.publish(&mut state);
        Ok(())
    }

    pub fn add_references(&self, references: Vec<(String, ReferenceRecord)>) -> Result<(), DatabaseError> {
        let _writing = self.writing();
        let is_wanted = |state: &State| {
            references.iter().any(|(name, record)| {
                // The image may have been removed meanwhile; names of nothing are of no use.
                state.references.get(name) != Some(record) && state.images.contains_key(&record.image)
            })
        };
        if !is_wanted(&self.state()) {
            return Ok(());
        }
        self.database.insert_references(&references)?;
        let mut state = self.state();
        state.references.extend(references);
        self.publish(&mut state);
        Ok(())
    }

    /// Takes an image out with all its names; absent: success.
    pub fn remove_image(&self, id: &Digest) -> Result<(), DatabaseError> {
        let _writing = self.writing();
        let old = {
            let state = self.state();
            let names = state.references.iter().filter(|(_, reference)| reference.image == *id);
            let references: Vec<String> = names.map(|(name, _)| name.clone()).collect();
            let known = state.images.get(id);
            if known.is_none() && references.is_empty() {
                return Ok(());
            }
            let documents = known.map(|known| known.record.documents.clone()).unwrap_or_default();
            OldImage { id: id.clone(), references, documents }
        };
        self.database.remove_image(&old)?;
        let mut state = self.state();
        state.images.remove(id);
        state.references.retain(|_, reference| reference.image != *id);
        self.publish(&mut state);
        Ok(())
    }

    /// The image of a name, also of one that is not listed because a layer is missing.
    pub fn image_of(&self, name: &str) -> Option<Digest> {
        if let Some(image) = self.snapshot().find(name) {
            return Some(image.view.id.clone());
        }
        let state = self.state();
        let id = Digest::parse(name).or_else(|_| Digest::parse(&format!("sha256:{name}"))).ok();
        id.filter(|id| state.images.contains_key(id)).or_else(|| {
            let reference = cradle_domain::Reference::parse(name).ok()?;
            state.references.get(&super::snapshot::key_of(&reference)).map(|found| found.image.clone())
        })
    }

    /// Forgets a layer whose files are not what was committed: images that have it are no longer listed, and the next
    /// pull of one fetches it.
    pub fn mark_damaged(&self, layer: &Arc<Layer>) {
        let mut state = self.state();
        if state.layers.get(&layer.key).is_some_and(|known| Arc::ptr_eq(known, layer)) {
            tracing::error!(layer = %layer.key, path = %layer.path.display(), "a layer is missing or damaged; the next pull of its images fetches it again");
            state.layers.remove(&layer.key);
            self.publish(&mut state);
        }
    }

    /// Takes out the layers that nobody holds and whose grace is over; they are the caller's to throw away.
    pub fn take_garbage(&self, now: Timestamp) -> Result<Vec<Arc<Layer>>, DatabaseError> {
        let _writing = self.writing();
        let garbage: Vec<Arc<Layer>> = {
            let mut state = self.state();
            let is_garbage = |layer: &Arc<Layer>| Arc::strong_count(layer) == 1 && layer.is_past_grace(now);
            state.layers.extract_if(|_, layer| is_garbage(layer)).map(|(_, layer)| layer).collect()
        };
        if garbage.is_empty() {
            return Ok(garbage);
        }
        let keys: Vec<Digest> = garbage.iter().map(|layer| layer.key.clone()).collect();
        if let Err(error) = self.database.remove_layers(&keys) {
            let mut state = self.state();
            state.layers.extend(garbage.into_iter().map(|layer| (layer.key.clone(), layer)));
            return Err(error);
        }
        Ok(garbage)
    }

    /// Blobs of layers that an image or layer here still has.
    pub fn wanted_blobs(&self) -> std::collections::HashSet<Digest> {
        let state = self.state();
        state.images.values().flat_map(|known| &known.record.layers).map(|layer| layer.blob.clone()).collect()
    }

    /// What all layers take.
    pub fn usage(&self) -> Usage {
        self.state().layers.values().fold(Usage::default(), |sum, layer| Usage {
            bytes: sum.bytes + layer.record.bytes,
            inodes: sum.inodes + layer.record.inodes,
        })
    }

    fn publish(&self, state: &mut State) {
        let next = Arc::new(Snapshot::build(&state.layers, &state.images, &state.references, &self.pinned));
        for layer in state.images.values().flat_map(|known| &known.record.layers) {
            if let Some(layer) = layer.find_in(&state.layers) {
                layer.mark_named();
            }
        }
        let previous = std::mem::replace(&mut *self.snapshot.write().unwrap_or_else(PoisonError::into_inner), next);
        // Freed when no reader is kept waiting.
        drop(previous);
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known_image(record: ImageRecord, config: &[u8]) -> Result<KnownImage, crate::manifest::ConfigError> {
    let config_bytes = config.len() as u64;
    let config = match record.kind {
        ImageKind::Image => crate::manifest::parse_config(config, record.layers.len(), None)?.0,
        ImageKind::Artifact => ImageConfig::default(),
    };
    Ok(KnownImage { record, config: Arc::new(config), config_bytes })
}
