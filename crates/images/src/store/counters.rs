//! What pulls have done since the store was opened, for those who watch the daemon.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use cradle_domain::{Classified, Digest};
use cradle_engine::ports::PullCounters;

use super::obtain::Obtained;
use crate::source::{Answer, Blob, Origin, Resolved, Served};

/// Counters that only go up, but for the pulls under way.
#[derive(Default)]
pub struct Counters {
    pulls: Mutex<PullCounters>,
    /// Apart, since each piece counts.
    fetched_bytes: AtomicU64,
}

/// One pull under way. Dropped before its end it was given up.
pub struct Counting<'a> {
    counters: &'a Counters,
    begun: Instant,
    ended: bool,
}

impl Counters {
    pub fn begin(&self) -> Counting<'_> {
        self.pulls().under_way += 1;
        Counting { counters: self, begun: Instant::now(), ended: false }
    }

    pub fn read(&self) -> PullCounters {
        PullCounters { fetched_bytes: self.fetched_bytes.load(Ordering::Relaxed), ..self.pulls().clone() }
    }

    /// A layer of an image that is taken in.
    pub fn add_layer(&self, obtained: &Obtained) {
        let mut pulls = self.pulls();
        match obtained {
            Obtained::Present(_) => pulls.layers_present += 1,
            Obtained::Ready(_) | Obtained::Dependent(_) => pulls.layers_fetched += 1,
        }
    }

    /// The same, with the bytes of its blobs counted as they come.
    pub fn count(self: &Arc<Self>, resolved: Resolved) -> Resolved {
        let origin = Arc::new(Counted { inner: resolved.origin, counters: Arc::clone(self) });
        Resolved { origin, ..resolved }
    }

    fn pulls(&self) -> MutexGuard<'_, PullCounters> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counting<'_> {
    pub fn end<T, E: Classified>(mut self, outcome: &Result<T, E>) {
        self.ended = true;
        let mut pulls = self.counters.pulls();
        match outcome {
            Ok(_) => {
                pulls.done += 1;
                pulls.durations.add(self.begun.elapsed());
            }
            Err(error) => *pulls.failed.entry(error.class()).or_default() += 1,
        }
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        let mut pulls = self.counters.pulls();
        pulls.under_way -= 1;
        if !self.ended {
            pulls.given_up += 1;
        }
    }
}

/// An origin or a blob whose bytes are counted.
struct Counted<T> {
    inner: T,
    counters: Arc<Counters>,
}

impl Origin for Counted<Arc<dyn Origin>> {
    fn manifest<'a>(&'a self, digest: &'a Digest) -> Answer<'a, Served> {
        self.inner.manifest(digest)
    }

    fn blob<'a>(&'a self, digest: &'a Digest, size: u64) -> Answer<'a, Box<dyn Blob>> {
        Box::pin(async move {
            let inner = self.inner.blob(digest, size).await?;
            Ok(Box::new(Counted { inner, counters: Arc::clone(&self.counters) }) as Box<dyn Blob>)
        })
    }
}

impl Blob for Counted<Box<dyn Blob>> {
    fn chunk(&mut self) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let chunk = self.inner.chunk().await?;
            let bytes = chunk.as_ref().map_or(0, Bytes::len) as u64;
            self.counters.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(chunk)
        })
    }

    fn other_origin(&self) -> Option<Arc<dyn Origin>> {
        let inner = self.inner.other_origin()?;
        Some(Arc::new(Counted { inner, counters: Arc::clone(&self.counters) }))
    }
}
