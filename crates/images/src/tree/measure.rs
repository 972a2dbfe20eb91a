//! What a tree takes on disk: one walk over it.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, fstat, openat, statat};
use rustix::io::Errno;

use super::Usage;
use super::folders::OPEN_FOLDER;

/// Folders nested deeper are left out: each level needs a descriptor while it is walked.
const DEPTH_MAX: usize = 256;

/// Bytes and inodes of the tree at `root`, itself included. Files of several names count once; what vanishes meanwhile
/// counts as nothing.
pub fn measure(root: impl AsFd) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let root = openat(root, ".", OPEN_FOLDER, Mode::empty())?;
    let stat = fstat(&root)?;
    add(&mut usage, stat.st_blocks);
    let mut levels = vec![(Dir::read_from(&root)?, root)];
    while let Some((listing, folder)) = levels.last_mut() {
        let Some(entry) = listing.next() else {
            levels.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_folder && stat.st_nlink > 1 && !seen.insert((stat.st_dev, stat.st_ino)) {
            continue;
        }
        add(&mut usage, stat.st_blocks);
        if is_folder && levels.len() < DEPTH_MAX {
            let parent: &OwnedFd = &levels[levels.len() - 1].1;
            match openat(parent, name, OPEN_FOLDER, Mode::empty()) {
                Ok(child) => levels.push((Dir::read_from(&child)?, child)),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(usage)
}

fn add(usage: &mut Usage, blocks_of_512: i64) {
    usage.inodes += 1;
    usage.bytes += u64::try_from(blocks_of_512).unwrap_or(0) * 512;
}
