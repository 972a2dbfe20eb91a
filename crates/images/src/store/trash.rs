//! Removing is a rename; a thread of the store deletes what was moved aside, so that nobody waits for it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use rustix::fs::{CWD, Mode, openat};

use super::disk::Disk;
use crate::tree::{self, OPEN_FOLDER};

/// The folder of what is being removed.
pub struct Trash {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    next: AtomicU64,
    wake: SyncSender<()>,
}

impl Trash {
    /// `wake` tells the thread that there is work.
    pub fn new(path: PathBuf, disk: Arc<dyn Disk>, wake: SyncSender<()>) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let taken =
            fs::read_dir(&path)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok()).max();
        Ok(Trash { path, disk, next: AtomicU64::new(taken.map_or(0, |last| last + 1)), wake })
    }

    /// Moves a file or folder of the store here; absent: success.
    pub fn discard(&self, path: &Path) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match self.disk.rename(path, &self.path.join(number.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => {
                self.wake();
                result
            }
        }
    }

    /// Has the thread look. A full channel means that it is about to look anyway.
    pub fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    /// Deletes all that is here. What cannot be deleted stands in nothing else's way; the last such error is told.
    pub fn empty(&self) -> io::Result<()> {
        let folder = openat(CWD, &self.path, OPEN_FOLDER, Mode::empty())?;
        let mut outcome = Ok(());
        for entry in fs::read_dir(&self.path)? {
            if let Err(error) = tree::remove(folder.as_fd(), entry?.file_name().as_bytes()) {
                outcome = Err(error);
            }
        }
        outcome
    }
}
