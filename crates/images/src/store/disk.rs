//! The seam between the store and its file system: every act by which what a later life finds is changed, or made to
//! outlive a power cut, goes through a [`Disk`]. They are few, and their order is what keeps an image whole; the tests in
//! `tests/crash` stop the store at each of them.
//!
//! What is written past it lies where nothing names it yet: in a layer's folder before its record, in a blob's partial
//! file, in the trash.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags, syncfs};

/// The file system beneath a store.
pub trait Disk: Send + Sync {
    /// Opens the database, whose writes and syncs are its own.
    fn open_database(&self, builder: &redb::Builder, path: &Path) -> Result<redb::Database, redb::DatabaseError>;

    /// Makes the folder of a layer.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes all that was written before outlive a power cut.
    fn sync(&self) -> io::Result<()>;

    /// The same for the names in the store's folder alone.
    fn sync_root(&self) -> io::Result<()>;
}

/// A real one.
pub struct FileSystem {
    /// Open since before the first write: the kernel reports a failed write-back to descriptors older than it.
    root: OwnedFd,
}

impl FileSystem {
    /// That of a folder, which is made if it is missing.
    pub fn of(root: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o711).create(root)?;
        Ok(FileSystem { root: File::open(root)?.into() })
    }
}

impl Disk for FileSystem {
    fn open_database(&self, builder: &redb::Builder, path: &Path) -> Result<redb::Database, redb::DatabaseError> {
        builder.create(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o755).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(syncfs(&self.root)?)
    }

    fn sync_root(&self) -> io::Result<()> {
        cradle_sys::durable::sync_directory(&self.root)
    }
}

/// Asks the file system to put what is made in different folders of `folder` far from each other (ext4 alone knows how,
/// `chattr +T`): layers that are unpacked at the same time then do not wait for the same block groups, and inodes that
/// were freed lately, which ext4 without a journal steps over one by one, are in the way of none. A mere wish.
pub fn spread(folder: &Path) {
    let wish = || -> io::Result<()> {
        let folder = File::open(folder)?;
        let flags = ioctl_getflags(&folder)?;
        Ok(ioctl_setflags(&folder, flags | IFlags::TOPDIR)?)
    };
    if let Err(error) = wish() {
        tracing::debug!(%error, folder = %folder.display(), "the file system does not spread folders");
    }
}
