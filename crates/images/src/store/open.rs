//! Opens a store: places, database, what containers have, and what an earlier life left behind.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use cradle_domain::{Class, Classified, Digest};
use cradle_engine::ports::UserNamespaceSupport;
use tokio::sync::Semaphore;

use super::catalogue::Catalogue;
use super::collect;
use super::containers::{Containers, Found};
use super::database::{Contents, Database, DatabaseError};
use super::disk::{Disk, FileSystem, spread};
use super::layout::{EMPTY_LAYER, Layout, digest_of_blob};
use super::pinned::Pinned;
use super::read_file::FileCache;
use super::trash::Trash;
use super::trial::try_overlay;
use super::workshop::{Workshop, umask};
use super::{Inner, Store};
use crate::limits::{ARCHIVES_MAX, PULLS_MAX};
use crate::manifest::Platform;
use crate::pipeline::Syncer;
use crate::source::Source;
use crate::tree::LayerForm;

/// How a store behaves.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The store's folder; it is made if it is missing. One file system holds all of it.
    pub root: PathBuf,
    /// Layers that are fetched and unpacked at the same time, over all pulls.
    pub parallel_layers: usize,
    /// Whether compressed layers are kept as well.
    pub keep_blobs: bool,
    /// Most bytes that one layer may unpack to.
    pub max_unpacked_bytes: u64,
    /// Names of images that are reported as pinned; `*` stands for any characters.
    pub pinned: Vec<String>,
    /// Whether overlays are mounted where the file system allows them.
    pub overlays: Overlays,
    /// How containers in user namespaces get images.
    pub user_namespaces: UserNamespaceSupport,
    /// Which image of an index is wanted.
    pub platform: Platform,
}

impl StoreConfig {
    pub fn new(root: PathBuf) -> Self {
        StoreConfig {
            root,
            parallel_layers: 8,
            keep_blobs: false,
            max_unpacked_bytes: 256 << 30,
            pinned: Vec::new(),
            overlays: Overlays::IfPossible,
            user_namespaces: UserNamespaceSupport::Mapped,
            platform: Platform::of_this_machine(),
        }
    }
}

/// Whether overlays are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlays {
    IfPossible,
    /// Each container gets a copy of its image.
    Never,
}

/// A store that does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{act} {path:?} of the image store")]
    Place { act: &'static str, path: PathBuf, source: io::Error },
    #[error("opening the image store")]
    Database(#[source] DatabaseError),
}

impl Classified for OpenError {
    fn class(&self) -> Class {
        match self {
            OpenError::Place { source, .. } => crate::tree::class_of(source),
            OpenError::Database(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            OpenError::Place { .. } => Some("check `root` in the configuration".into()),
            OpenError::Database(error) => error.hint(),
        }
    }
}

fn place<T>(act: &'static str, path: &Path, result: io::Result<T>) -> Result<T, OpenError> {
    result.map_err(|source| OpenError::Place { act, path: path.to_owned(), source })
}

impl Store {
    /// Opens the store at `config.root`, whose images come from `registry`.
    pub fn open(config: StoreConfig, registry: Arc<cradle_registry::Client>) -> Result<Self, OpenError> {
        Store::open_with(config, registry)
    }

    /// Opens a store whose images come from any source.
    pub fn open_with(config: StoreConfig, source: Arc<dyn Source>) -> Result<Self, OpenError> {
        let disk = place("opening", &config.root, FileSystem::of(&config.root))?;
        Store::open_on(Arc::new(disk), config, source)
    }

    /// Opens a store on any disk.
    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        config: StoreConfig,
        source: Arc<dyn Source>,
    ) -> Result<Self, OpenError> {
        let layout = Layout::new(config.root.clone());
        make_places(&layout)?;
        let (wake, wakeups) = sync_channel(1);
        let trash = Trash::new(layout.trash(), Arc::clone(&disk), wake);
        let trash = Arc::new(place("preparing", &layout.trash(), trash)?);
        let overlays = overlays_at(&layout, config.overlays)?;
        let form = if overlays.is_ok() { LayerForm::Overlay } else { LayerForm::Plain };
        let (database, mut contents) = open_database(&layout, &*disk)?;
        // An overlay would show what they hide. Their folders go as any that is not recorded.
        contents.layers.retain(|(_, layer)| form == LayerForm::Plain || layer.form == LayerForm::Overlay);
        // The database's commits are durable in a file that is itself so.
        place("syncing", layout.root(), disk.sync_root())?;
        let catalogue = Catalogue::new(database, contents, layout.clone(), Pinned::new(&config.pinned));
        let catalogue = Arc::new(catalogue.map_err(OpenError::Database)?);
        let recorded: HashSet<u64> = catalogue.layers().iter().map(|layer| layer.record.number).collect();
        let shifts_copies = matches!(config.user_namespaces, UserNamespaceSupport::Copied { .. });
        let loaded = Containers::load(layout.clone(), form, shifts_copies, &catalogue);
        let Found { containers, unrecorded } = place("reading", &layout.containers(), loaded)?;
        let cleared = clear_layers(&layout, &recorded, &unrecorded, &trash);
        let last = place("looking through", &layout.layers(), cleared)?;
        place("looking through", &layout.blobs(), clear_blobs(&layout, &catalogue.wanted_blobs(), &*disk))?;
        let workshop = Workshop {
            layout,
            syncer: Syncer::new(Arc::clone(&disk)),
            disk,
            trash,
            permits: Semaphore::new(config.parallel_layers.max(1)),
            keep_blobs: config.keep_blobs,
            max_unpacked_bytes: config.max_unpacked_bytes,
            form,
            umask: place("reading", Path::new("/proc/self/status"), umask())?,
            next_layer: AtomicU64::new(last + 1),
        };
        let inner = Arc::new(Inner {
            source,
            platform: config.platform,
            workshop: Arc::new(workshop),
            catalogue,
            containers,
            pulls: Arc::default(),
            pull_permits: Semaphore::new(PULLS_MAX),
            archive_permits: Arc::new(Semaphore::new(ARCHIVES_MAX)),
            layers: Arc::default(),
            settlements: Arc::default(),
            counters: Arc::default(),
            overlays: overlays.err(),
            user_namespaces: config.user_namespaces,
            files: Mutex::new(FileCache::default()),
            pulled: AtomicBool::new(false),
        });
        place("starting the collector of", inner.workshop.layout.root(), collect::start(&inner, wakeups))?;
        inner.workshop.trash.wake();
        Ok(Store { inner })
    }
}

/// The folders may be entered by processes of mapped users, whose mounts show the layers, but not listed.
fn make_places(layout: &Layout) -> Result<(), OpenError> {
    let root = layout.root();
    place("protecting", root, fs::set_permissions(root, fs::Permissions::from_mode(0o711)))?;
    for path in [layout.layers(), layout.containers(), layout.blobs(), layout.trash(), layout.layer(EMPTY_LAYER)] {
        let mode = if path.parent() == Some(root) { 0o711 } else { 0o755 };
        place("making", &path, fs::DirBuilder::new().recursive(true).mode(mode).create(&path))?;
    }
    spread(&layout.layers());
    Ok(())
}

/// A damaged database is put aside and a new one begun: images are pulled again, and containers keep their layers.
fn open_database(layout: &Layout, disk: &dyn Disk) -> Result<(Database, Contents), OpenError> {
    let path = layout.database();
    match Database::open(&path, disk) {
        Err(DatabaseError::Damaged { source, .. }) => {
            let aside = path.with_extension("redb.damaged");
            tracing::error!(error = %source, aside = %aside.display(), "the image database is damaged; it is put aside and begun anew");
            place("putting aside", &path, disk.rename(&path, &aside))?;
            Database::open(&path, disk).map_err(OpenError::Database)
        }
        result => result.map_err(OpenError::Database),
    }
}

/// Throws away the folders that no record and no container names; answers with the highest number in use.
fn clear_layers(layout: &Layout, recorded: &HashSet<u64>, unrecorded: &HashSet<u64>, trash: &Trash) -> io::Result<u64> {
    let mut last = recorded.iter().chain(unrecorded).copied().max().unwrap_or(EMPTY_LAYER);
    for entry in fs::read_dir(layout.layers())? {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) else { continue };
        last = last.max(number);
        if number != EMPTY_LAYER && !recorded.contains(&number) && !unrecorded.contains(&number) {
            trash.discard(&entry.path())?;
        }
    }
    Ok(last)
}

/// Removes the blobs that no image has, with those that an earlier life did not finish.
fn clear_blobs(layout: &Layout, wanted: &HashSet<Digest>, disk: &dyn Disk) -> io::Result<()> {
    for entry in fs::read_dir(layout.blobs())? {
        let entry = entry?;
        if !digest_of_blob(&entry.file_name()).is_some_and(|digest| wanted.contains(&digest)) {
            disk.remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether overlays work on the store's file system, by trying one; else why not. It is tried as root: others are told by
/// the kernel that they may not, whatever it is.
fn overlays_at(layout: &Layout, wanted: Overlays) -> Result<Result<(), String>, OpenError> {
    if wanted == Overlays::Never {
        return Ok(Err("overlays are not wanted".into()));
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(Ok(()));
    }
    // In the trash: whatever happens, it is thrown away.
    let folder = layout.trash().join("overlay-trial");
    let cleared = || match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    place("clearing", &folder, cleared())?;
    let tried = try_overlay(&folder);
    place("clearing", &folder, cleared())?;
    let Some(error) = tried.err().filter(|error| !error.is_for_want_of_space()) else { return Ok(Ok(())) };
    let why = error.words();
    tracing::warn!(root = %layout.root().display(), why, "overlays do not work on this file system: each container gets a copy of its image, which takes time and space");
    Ok(Err(why))
}
