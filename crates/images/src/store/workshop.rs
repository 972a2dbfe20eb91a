//! What the pipeline works with: places, numbers, the syncer and the bounds that the configuration sets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::disk::Disk;
use super::layout::Layout;
use super::trash::Trash;
use crate::pipeline::{Staged, Syncer};
use crate::tree::LayerForm;

/// The pipeline's tools.
pub struct Workshop {
    pub layout: Layout,
    pub disk: Arc<dyn Disk>,
    pub syncer: Syncer,
    pub trash: Arc<Trash>,
    /// One permit for each layer that is fetched at the moment.
    pub permits: Semaphore,
    pub keep_blobs: bool,
    pub max_unpacked_bytes: u64,
    /// What its file system can hold.
    pub form: LayerForm,
    /// The daemon's; it does not change while it runs.
    pub umask: u32,
    pub next_layer: AtomicU64,
}

impl Workshop {
    /// A new folder for a layer.
    pub fn stage(&self) -> io::Result<Staged> {
        let number = self.next_layer.fetch_add(1, Ordering::Relaxed);
        Staged::create(number, self.layout.layer(number), &*self.disk, Arc::clone(&self.trash))
    }
}

/// The process's umask, without changing it as umask(2) would.
pub fn umask() -> io::Result<u32> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    field
        .and_then(|text| u32::from_str_radix(text.trim(), 8).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/status has no readable line \"Umask:\""))
}
