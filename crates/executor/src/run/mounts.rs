//! Mount steps: new file systems, bind mounts, the root, masks.
//!
//! A mount is made detached (fsopen, open_tree), gets its attributes and its propagation, and is attached to an open
//! descriptor as the last act: no half-made mount is ever to be seen, and no path is looked up twice.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use cradle_sys::mount::{AttributeChange, Reach, set_attributes};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::failure::{Explain, StepError};
use crate::plan::mount_options::{self, Attributes, MASK, Propagation, PropagationKind, RDONLY};
use crate::plan::{Depth, FilesystemOption};

const READ_ONLY: AttributeChange<'static> = AttributeChange { set: RDONLY, clear: 0, propagation: 0, idmap: None };

/// A copy of what is mounted at a path of the host, symbolic links followed.
pub(super) fn copy_path(path: &Path, depth: Depth) -> Result<OwnedFd, Errno> {
    open_tree(CWD, path, copying(depth))
}

/// A copy of what is mounted at an open file.
pub(super) fn copy(of: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd, Errno> {
    open_tree(of, c"", copying(depth) | OpenTreeFlags::AT_EMPTY_PATH)
}

fn copying(depth: Depth) -> OpenTreeFlags {
    let recursive = if depth == Depth::Tree { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | recursive
}

/// Attaches a detached mount at an open file or folder.
pub(super) fn attach(mount: &OwnedFd, at: &OwnedFd) -> Result<(), Errno> {
    move_mount(mount, c"", at, c"", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)
}

/// A new file system, mounted nowhere yet.
pub(super) fn new_filesystem(
    kind: &str,
    source: &str,
    options: &[FilesystemOption],
    attributes: u64,
) -> Result<OwnedFd, StepError> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).explain(|| format!("the file system {kind:?}"))?;
    let made = configure(&context, source, options)
        .and_then(|()| fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags(attributes)));
    made.explain(|| messages(&context))
}

fn configure(context: &OwnedFd, source: &str, options: &[FilesystemOption]) -> Result<(), Errno> {
    fsconfig_set_string(context, c"source", source)?;
    for option in options {
        match &option.value {
            Some(value) => fsconfig_set_string(context, option.key.as_str(), value.as_str())?,
            None => fsconfig_set_flag(context, option.key.as_str())?,
        }
    }
    fsconfig_create(context)
}

pub(super) fn flags(attributes: u64) -> MountAttrFlags {
    MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0))
}

/// What the kernel has to say about a file system that it would not make (fsopen(2), one message a read).
pub(super) fn messages(context: &OwnedFd) -> String {
    let mut texts = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(read) = rustix::io::read(context, &mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..read]);
        // "e tmpfs: Unknown parameter 'x'": e, w or i, and the message.
        texts.push(text.get(2..).unwrap_or_default().trim().to_owned());
    }
    texts.join(", ")
}

/// Gives a mount its attributes, its propagation and its mapping of ids.
pub(super) fn shape(
    mount: &OwnedFd,
    attributes: Attributes,
    propagation: Option<Propagation>,
    idmap: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let propagates = |depth| match propagation {
        Some(propagation) if propagation.depth == depth => propagation_bit(propagation.kind),
        _ => 0,
    };
    let change = |change: mount_options::AttributeChange, depth, idmap| AttributeChange {
        set: change.set,
        clear: change.clear,
        propagation: propagates(depth),
        idmap,
    };
    for (change, reach) in [
        (change(attributes.tree, Depth::Tree, None), Reach::Tree),
        (change(attributes.mount, Depth::Mount, idmap), Reach::Mount),
    ] {
        if change.set | change.clear | change.propagation != 0 || change.idmap.is_some() {
            set_attributes(mount.as_fd(), &change, reach)?;
        }
    }
    Ok(())
}

fn propagation_bit(kind: PropagationKind) -> u64 {
    let flag = match kind {
        PropagationKind::Private => MountPropagationFlags::PRIVATE,
        PropagationKind::Slave => MountPropagationFlags::DOWNSTREAM,
        PropagationKind::Shared => MountPropagationFlags::SHARED,
        PropagationKind::Unbindable => MountPropagationFlags::UNBINDABLE,
    };
    flag.bits().into()
}

/// Makes everything mounted at and beneath an open file read-only, by a copy of it on top.
pub(super) fn protect(at: &OwnedFd) -> Result<(), Errno> {
    let tree = copy(at.as_fd(), Depth::Tree)?;
    set_attributes(tree.as_fd(), &READ_ONLY, Reach::Tree)?;
    attach(&tree, at)
}

/// What covers a masked path: an empty folder, or a file that is empty and stays so.
#[derive(Debug, Default)]
pub(super) struct Masks {
    directory: Option<OwnedFd>,
    null: Option<OwnedFd>,
}

impl Masks {
    /// Covers a folder. The first is covered by a new tmpfs, the others by copies of it.
    pub(super) fn cover_directory(&mut self, at: &OwnedFd) -> Result<(), StepError> {
        let cover = match &self.directory {
            Some(cover) => copy(cover.as_fd(), Depth::Mount).explain(String::new)?,
            None => {
                let option = |key: &str, value: &str| FilesystemOption { key: key.into(), value: Some(value.into()) };
                new_filesystem("tmpfs", "tmpfs", &[option("nr_inodes", "1"), option("size", "4k")], MASK)?
            }
        };
        attach(&cover, at).explain(String::new)?;
        self.directory.get_or_insert(cover);
        Ok(())
    }

    /// Covers a file with the host's `/dev/null`; the container's own could be anything.
    pub(super) fn cover_file(&mut self, at: &OwnedFd) -> Result<(), StepError> {
        if self.null.is_none() {
            self.null = Some(host_null().explain(|| "the host's /dev/null".into())?);
        }
        let Some(null) = &self.null else { return Ok(()) };
        let cover = copy(null.as_fd(), Depth::Mount).explain(|| "the host's /dev/null".into())?;
        attach(&cover, at).explain(String::new)
    }
}

fn host_null() -> Result<OwnedFd, Errno> {
    let null = openat(CWD, c"/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&null)?;
    let is_null = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(null) } else { Err(Errno::NODEV) }
}
