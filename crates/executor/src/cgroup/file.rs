//! Reading and writing the small files of a group, always relative to the open root of its tree.

use std::fmt;
use std::os::fd::OwnedFd;

use cradle_domain::{Class, Classified};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::layout::Hierarchy;

/// A file of a control group could not be read or written, a directory not be made or removed.
#[derive(Debug, thiserror::Error)]
pub struct FileError {
    what: String,
    #[source]
    source: Errno,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl FileError {
    /// `action` on `path` of this tree failed.
    pub(super) fn new(action: impl fmt::Display, tree: &Hierarchy, path: &str, source: Errno) -> Self {
        FileError { what: format!("{action} {}", tree.full_path(path).display()), source }
    }

    pub(super) fn errno(&self) -> Errno {
        self.source
    }
}

impl Classified for FileError {
    fn class(&self) -> Class {
        match self.source {
            Errno::NOENT | Errno::NODEV | Errno::SRCH => Class::NotFound,
            Errno::BUSY => Class::Busy,
            Errno::INVAL | Errno::RANGE | Errno::OVERFLOW | Errno::NXIO => Class::Invalid,
            Errno::PERM | Errno::ACCESS | Errno::ROFS => Class::Denied,
            Errno::NOSPC | Errno::NOMEM | Errno::AGAIN | Errno::MFILE | Errno::NFILE => Class::Exhausted,
            Errno::EXIST => Class::Conflict,
            _ => Class::Bug,
        }
    }
}

/// What a file holds.
pub(super) fn read(tree: &Hierarchy, path: &str) -> Result<String, FileError> {
    read_file(tree, path).map_err(|source| FileError::new("reading", tree, path, source))
}

/// What a file holds; none where the file or its group is not there.
pub(super) fn read_if_there(tree: &Hierarchy, path: &str) -> Result<Option<String>, FileError> {
    match read_file(tree, path) {
        Ok(text) => Ok(Some(text)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(source) => Err(FileError::new("reading", tree, path, source)),
    }
}

fn read_file(tree: &Hierarchy, path: &str) -> Result<String, Errno> {
    read_all(&open(tree, path)?)
}

/// Opens a file to be read.
pub(super) fn open(tree: &Hierarchy, path: &str) -> Result<OwnedFd, Errno> {
    openat(tree.root()?, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// The rest of an open file. By a buffer on the stack: musl maps memory anew for one of some KiB, which takes longer than
/// the reading.
pub(super) fn read_all(file: &OwnedFd) -> Result<String, Errno> {
    let mut text = Vec::new();
    let mut piece = [0; 1024];
    loop {
        // The kernel hands out what a seq_file holds in pieces; only an empty piece is the end.
        match rustix::io::read(file, &mut piece)? {
            0 => return String::from_utf8(text).map_err(|_| Errno::ILSEQ),
            count => text.extend_from_slice(&piece[..count]),
        }
    }
}

/// Writes a value with one system call, as the kernel demands.
pub(super) fn write(tree: &Hierarchy, path: &str, value: &str) -> Result<(), FileError> {
    write_file(tree, path, value)
        .map_err(|source| FileError::new(format_args!("writing {value:?} to"), tree, path, source))
}

fn write_file(tree: &Hierarchy, path: &str, value: &str) -> Result<(), Errno> {
    let file = openat(tree.root()?, path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    // An empty write would never reach the handler of the file; a line break does, and is trimmed there.
    let value = if value.is_empty() { "\n" } else { value };
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

/// The value of `key` in lines of the form `key value`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
