//! The folder of a layer that is not committed. Dropping it throws its files away.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, openat};

use crate::store::{Disk, Trash};
use crate::tree::OPEN_FOLDER;

/// A layer's folder before its commit.
pub struct Staged {
    number: u64,
    path: PathBuf,
    root: OwnedFd,
    trash: Arc<Trash>,
    committed: bool,
}

impl Staged {
    /// Makes the folder of the layer `number` at `path`.
    pub fn create(number: u64, path: PathBuf, disk: &dyn Disk, trash: Arc<Trash>) -> io::Result<Self> {
        disk.make_folder(&path)?;
        let root = openat(CWD, &path, OPEN_FOLDER, Mode::empty())?;
        Ok(Staged { number, path, root, trash, committed: false })
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// A record names the folder now: it stays.
    pub fn committed(mut self) {
        self.committed = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = self.trash.discard(&self.path)
        {
            // It is collected when the store is opened next.
            tracing::warn!(path = %self.path.display(), %error, "cannot throw an unfinished layer away");
        }
    }
}
