//! Removes a file or a whole tree, of any depth, with a bounded number of descriptors and never following a link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::folders::OPEN_FOLDER;
use crate::limits::REMOVE_DEPTH_MAX;

/// Removes what `name` in `folder` is; absent: success.
pub fn remove(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut raised = 0;
    loop {
        let top = openat(folder, name, OPEN_FOLDER, Mode::empty())?;
        empty(top.as_fd(), top.as_fd(), 0, &mut raised)?;
        match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Ok(()) => return Ok(()),
            // Trees that were raised to the top while it was being read.
            Err(Errno::NOTEMPTY) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn empty(folder: BorrowedFd<'_>, top: BorrowedFd<'_>, depth: usize, raised: &mut u64) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match unlinkat(folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // The file system does not tell types in listings.
                Err(Errno::ISDIR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if depth == REMOVE_DEPTH_MAX {
            raise(folder, name.to_bytes(), top, raised)?;
            continue;
        }
        let child = openat(folder, name, OPEN_FOLDER, Mode::empty())?;
        empty(child.as_fd(), top, depth + 1, raised)?;
        unlinkat(folder, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Moves a deep tree to the top, to be removed from there.
fn raise(folder: BorrowedFd<'_>, name: &[u8], top: BorrowedFd<'_>, raised: &mut u64) -> io::Result<()> {
    loop {
        *raised += 1;
        match renameat(folder, name, top, format!("raised-{raised}")) {
            // The tree itself has something of that name.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            result => return Ok(result?),
        }
    }
}
