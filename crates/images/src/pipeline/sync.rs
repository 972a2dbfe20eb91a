//! Stage 6: makes what was written outlive a power cut, with one syncfs(2) for all who wait at the moment.
//!
//! One call for the file system instead of fsync(2) for each file: a layer has thousands. A call that was running when a
//! layer came does not count for it; the next one, shared with whoever came meanwhile, does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cradle_domain::{Class, Classified};
use tokio::sync::Mutex;

use crate::store::Disk;

/// Syncs one file system.
pub struct Syncer {
    disk: Arc<dyn Disk>,
    /// Calls begun.
    begun: AtomicU64,
    /// The newest call that succeeded. Its lock is the turn to call.
    done: Mutex<u64>,
    failures: AtomicU64,
}

/// The moment from which on a writer wants to know of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncTicket {
    failures: u64,
}

/// What was written may not outlive a power cut.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error("syncing the image store's file system")]
    Sync(#[source] io::Error),
    #[error("the file system lost data of another layer that was written at the same time")]
    LostMeanwhile,
}

impl Classified for SyncError {
    fn class(&self) -> Class {
        match self {
            SyncError::Sync(error) => crate::tree::class_of(error),
            SyncError::LostMeanwhile => Class::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        Some("look at the disk of the image store, then pull again".into())
    }
}

impl Syncer {
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Syncer { disk, begun: AtomicU64::new(0), done: Mutex::new(0), failures: AtomicU64::new(0) }
    }

    /// To be taken before the first write.
    pub fn ticket(&self) -> SyncTicket {
        SyncTicket { failures: self.failures.load(Ordering::SeqCst) }
    }

    /// Waits until all that was written before outlives a power cut.
    pub async fn sync(&self, since: SyncTicket) -> Result<(), SyncError> {
        let enough = self.begun.load(Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done < enough {
            let call = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let disk = Arc::clone(&self.disk);
            let result = tokio::task::spawn_blocking(move || disk.sync()).await;
            let result = result.map_err(io::Error::other).and_then(|synced| synced);
            if let Err(error) = result {
                self.failures.fetch_add(1, Ordering::SeqCst);
                return Err(SyncError::Sync(error));
            }
            *done = call;
        }
        // An error is reported once: it may have been data of this writer that another one's call was told of.
        if self.ticket() == since { Ok(()) } else { Err(SyncError::LostMeanwhile) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FileSystem;

    fn syncer_of(folder: &std::path::Path) -> Syncer {
        Syncer::new(Arc::new(FileSystem::of(folder).unwrap()))
    }

    #[tokio::test]
    async fn writers_that_come_together_share_a_call() {
        let folder = tempfile::tempdir().unwrap();
        let syncer = Arc::new(syncer_of(folder.path()));
        let turn = syncer.done.lock().await;
        let writers: Vec<_> = (0..10)
            .map(|_| {
                let syncer = syncer.clone();
                tokio::spawn(async move { syncer.sync(syncer.ticket()).await })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(turn);
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        assert_eq!(syncer.begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_that_wrote_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let syncer = syncer_of(folder.path());
        let before = syncer.ticket();
        syncer.failures.fetch_add(1, Ordering::SeqCst);
        assert!(matches!(syncer.sync(before).await, Err(SyncError::LostMeanwhile)));
        assert!(syncer.sync(syncer.ticket()).await.is_ok());
    }
}
