//! Does what a layer's archive left to the layers below: owner and mode of folders it only implies, and hard links to
//! files that it does not have.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, fstat, futimens, linkat, openat, readlinkat};
use rustix::fs::{statat, symlinkat};
use rustix::io::Errno;

use super::folders::open_beneath;
use super::metadata::Metadata;
use super::union::{Found, Links, Union};
use super::{Dependence, PendingLink, TreeError, Usage, file_type, is_whiteout, path, shown};

/// Settles the layer at `root` upon the layers `below`; answers with the space it took.
pub fn settle(root: &OwnedFd, dependence: &Dependence, below: &Union) -> Result<Usage, TreeError> {
    let mut usage = Usage::default();
    for link in &dependence.links {
        let taken = settle_link(root, link, below)?;
        usage.bytes += taken.bytes;
        usage.inodes += taken.inodes;
    }
    for folder in &dependence.implied {
        let failed = || TreeError::io("taking owner and mode from the layers below for", folder);
        if let Some(Found::Folder(merged)) = below.find(folder, Links::Keep).map_err(failed())?
            && let Some(top) = merged.first()
        {
            let apply = || Metadata::of_file(top)?.apply_to_folder(open_beneath(root, folder)?);
            apply().map_err(TreeError::system("taking owner and mode from the layers below for", folder))?;
        }
    }
    Ok(usage)
}

fn settle_link(root: &OwnedFd, link: &PendingLink, below: &Union) -> Result<Usage, TreeError> {
    let failed = || TreeError::system("making the hard link", &link.path);
    let (parent, name) = path::split(&link.path);
    let folder = match open_beneath(root, parent) {
        Ok(folder) => folder,
        // A later entry took the folder's place.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Usage::default()),
        Err(errno) => return Err(failed()(errno)),
    };
    match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => return Ok(Usage::default()),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed()(errno)),
    }
    let before = fstat(&folder).map_err(failed())?;
    let usage = link_or_copy(root, &folder, name, link, below)?;
    // The new name is no change of the folder that its image knows of.
    let time = |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos.cast_signed() };
    let times = Timestamps {
        last_access: time(before.st_atime, before.st_atime_nsec),
        last_modification: time(before.st_mtime, before.st_mtime_nsec),
    };
    futimens(&folder, &times).map_err(failed())?;
    Ok(usage)
}

fn link_or_copy(
    root: &OwnedFd,
    folder: &OwnedFd,
    name: &[u8],
    link: &PendingLink,
    below: &Union,
) -> Result<Usage, TreeError> {
    let failed = || TreeError::system("making the hard link", &link.path);
    let missing = || TreeError::LinkTarget { entry: shown(&link.path), target: shown(&link.target) };
    // An earlier link of the same kind may have brought the target into this layer.
    let (target_parent, target_name) = path::split(&link.target);
    if let Ok(target_folder) = open_beneath(root, target_parent)
        && let Ok(stat) = statat(&target_folder, target_name, AtFlags::SYMLINK_NOFOLLOW)
    {
        if is_whiteout(&stat) || file_type(&stat) == FileType::Directory {
            return Err(missing());
        }
        linkat(&target_folder, target_name, folder, name, AtFlags::empty()).map_err(failed())?;
        return Ok(Usage::default());
    }
    let found = below.find(&link.target, Links::Keep).map_err(TreeError::io("making the hard link", &link.path))?;
    let Some(Found::Other { folder: source, name: source_name, stat }) = found else { return Err(missing()) };
    match file_type(&stat) {
        FileType::RegularFile => {
            copy_file(&source, &source_name, folder, name)
                .map_err(TreeError::io("copying for the hard link", &link.path))?;
        }
        FileType::Symlink => {
            let target = readlinkat(&source, &*source_name, Vec::new()).map_err(failed())?;
            symlinkat(&*target, folder, name).map_err(failed())?;
        }
        _ => return Err(missing()),
    }
    Ok(Usage { bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512, inodes: 1 })
}

fn copy_file(source: &OwnedFd, source_name: &[u8], folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut from = File::from(openat(source, source_name, read, Mode::empty())?);
    let mut to = File::from(openat(folder, name, write, Mode::from_raw_mode(0o600))?);
    io::copy(&mut from, &mut to)?;
    // Like a folder, the file was made with a mode of its own.
    Ok(Metadata::of_file(&from)?.apply_to_folder(to.as_fd())?)
}
