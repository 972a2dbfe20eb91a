//! What pulls have done since the store was opened, for those who watch the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cradle_domain::Digest;
use cradle_engine::ports::PullCounters;

use crate::source::{Answer, Blob, Origin, Resolved, Served};

/// Counters that only go up, but for the pulls under way.
#[derive(Default)]
pub struct Counters {
    under_way: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    fetched_bytes: AtomicU64,
}

/// One pull under way. Dropped before its end it was given up.
pub struct Counting<'a> {
    counters: &'a Counters,
    ended: bool,
}

impl Counters {
    pub fn begin(&self) -> Counting<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Counting { counters: self, ended: false }
    }

    pub fn read(&self) -> PullCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PullCounters {
            under_way: read(&self.under_way),
            done: read(&self.done),
            failed: read(&self.failed),
            given_up: read(&self.given_up),
            fetched_bytes: read(&self.fetched_bytes),
        }
    }

    /// The same, with the bytes of its blobs counted as they come.
    pub fn count(self: &Arc<Self>, resolved: Resolved) -> Resolved {
        let origin = Arc::new(Counted { inner: resolved.origin, counters: Arc::clone(self) });
        Resolved { origin, ..resolved }
    }
}

impl Counting<'_> {
    pub fn end<T, E>(mut self, outcome: &Result<T, E>) {
        self.ended = true;
        let counter = if outcome.is_ok() { &self.counters.done } else { &self.counters.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.counters.under_way.fetch_sub(1, Ordering::Relaxed);
        if !self.ended {
            self.counters.given_up.fetch_add(1, Ordering::Relaxed);
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
