//! Garbage: layers that nothing needs, and the trash. A thread of the store sees to both, when it is woken and from time
//! to time.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;

use cradle_domain::{Digest, Timestamp};

use super::Inner;
use super::database::DatabaseError;
use super::layout::digest_of_blob;
use crate::limits::COLLECT_INTERVAL;

/// Starts the thread; it ends with the store.
pub fn start(inner: &Arc<Inner>, wakeups: Receiver<()>) -> io::Result<()> {
    let inner = Arc::downgrade(inner);
    thread::Builder::new().name("image-collector".into()).spawn(move || collect_on(&inner, &wakeups)).map(drop)
}

fn collect_on(inner: &Weak<Inner>, wakeups: &Receiver<()>) {
    loop {
        match wakeups.recv_timeout(COLLECT_INTERVAL) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = inner.collect(Timestamp::now()) {
            tracing::warn!(%error, "cannot collect unused layers; trying again later");
        }
        if let Err(error) = inner.workshop.trash.empty() {
            tracing::warn!(%error, "cannot empty the image store's trash; trying again later");
        }
        // What a pull has used is given back once no other one needs it.
        if inner.pulls.is_idle() && inner.pulled.swap(false, Ordering::Relaxed) {
            cradle_sys::heap::trim();
            // It costs memory only.
            let _ = cradle_sys::text::release();
        }
    }
}

impl Inner {
    /// Moves layers that are unused at this time to the trash.
    pub fn collect(&self, now: Timestamp) -> Result<(), DatabaseError> {
        let garbage = self.catalogue.take_garbage(now)?;
        for layer in &garbage {
            tracing::debug!(layer = %layer.key, path = %layer.path.display(), "removing an unused layer");
            if let Err(error) = self.workshop.trash.discard(&layer.path) {
                tracing::warn!(path = %layer.path.display(), %error, "cannot remove an unused layer; the next start does");
            }
        }
        if !garbage.is_empty() {
            self.collect_blobs();
        }
        Ok(())
    }

    fn collect_blobs(&self) {
        let wanted: HashSet<Digest> = self.catalogue.wanted_blobs();
        let Ok(listing) = std::fs::read_dir(self.workshop.layout.blobs()) else { return };
        for entry in listing.flatten() {
            if digest_of_blob(&entry.file_name()).is_some_and(|digest| !wanted.contains(&digest)) {
                // One that stays is found at the next collection, or at the next start.
                let _ = self.workshop.disk.remove_file(&entry.path());
            }
        }
    }
}
