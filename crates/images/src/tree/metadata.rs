//! Owner, mode, extended attributes and times of what was made, in the one order that works: chown(2) clears set-uid
//! bits and file capabilities, so they come after it, and times come last.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fgetxattr,
    fgetxattr_query, flistxattr, flistxattr_query, fsetxattr, fstat, futimens, lsetxattr, utimensat,
};
use rustix::io::{Errno, Result};

use crate::tar::{Attribute, Entry, Time};

/// What an entry says of its file beside the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// None: as it is.
    pub modified: Option<Time>,
    pub attributes: Vec<Attribute>,
}

/// Bits that chown(2) and open(2) do not keep.
const SPECIAL_BITS: u32 = 0o7000;

impl Metadata {
    pub fn of_entry(entry: Entry) -> Self {
        let Entry { mode, uid, gid, modified, attributes, .. } = entry;
        Metadata { mode, uid, gid, modified: Some(modified), attributes: permitted(attributes) }
    }

    pub fn of_implied_folder() -> Self {
        Metadata { mode: 0o755, uid: 0, gid: 0, modified: None, attributes: Vec::new() }
    }

    pub fn attribute_bytes(&self) -> usize {
        self.attributes.iter().map(|attribute| attribute.name.len() + attribute.value.len() + 64).sum()
    }

    /// The mode to create a file with.
    pub fn creation_mode(&self) -> Mode {
        Mode::from_raw_mode(self.mode & 0o777)
    }

    /// Those of a file or folder of another layer.
    pub fn of_file(file: impl AsFd) -> Result<Self> {
        let stat = fstat(&file)?;
        Ok(Metadata { attributes: permitted(attributes_of(file)?), ..Metadata::of_stat(&stat) })
    }

    /// Those of a file that must not be opened, without attributes.
    pub fn of_stat(stat: &Stat) -> Self {
        let modified = Time { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        Metadata { mode, uid, gid, modified: Some(modified), attributes: Vec::new() }
    }

    /// For a file created with [`Metadata::creation_mode`] by root in a folder that passes nothing on.
    pub fn apply_to_file(&self, file: impl AsFd, umask: u32) -> Result<()> {
        let file = file.as_fd();
        self.chown(file)?;
        if self.mode & (SPECIAL_BITS | umask) != 0 {
            fchmod(file, Mode::from_raw_mode(self.mode))?;
        }
        self.finish(file)
    }

    /// For a folder made with another mode.
    pub fn apply_to_folder(&self, folder: impl AsFd) -> Result<()> {
        let folder = folder.as_fd();
        self.chown(folder)?;
        fchmod(folder, Mode::from_raw_mode(self.mode))?;
        self.finish(folder)
    }

    fn chown(&self, file: impl AsFd) -> Result<()> {
        if self.is_of_root() {
            return Ok(());
        }
        fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }

    fn finish(&self, file: BorrowedFd<'_>) -> Result<()> {
        self.apply_attributes(|attribute| fsetxattr(file, &*attribute.name, &attribute.value, XattrFlags::empty()))?;
        self.times().map_or(Ok(()), |times| futimens(file, &times))
    }

    /// For a device or fifo, which must not be opened.
    pub fn apply_to_node(&self, folder: impl AsFd, name: &[u8], umask: u32) -> Result<()> {
        let folder = folder.as_fd();
        self.chown_name(folder, name)?;
        if self.mode & (SPECIAL_BITS | umask) != 0 {
            chmodat(folder, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        self.finish_name(folder, name)
    }

    /// For a symbolic link, which has no mode of its own.
    pub fn apply_to_link(&self, folder: impl AsFd, name: &[u8]) -> Result<()> {
        self.chown_name(folder.as_fd(), name)?;
        self.finish_name(folder.as_fd(), name)
    }

    fn chown_name(&self, folder: impl AsFd, name: &[u8]) -> Result<()> {
        if self.is_of_root() {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn finish_name(&self, folder: impl AsFd, name: &[u8]) -> Result<()> {
        let folder = folder.as_fd();
        if !self.attributes.is_empty() {
            // There is no lsetxattrat(2) before Linux 6.13. The last component is not followed, the first is ours.
            let path = [format!("/proc/self/fd/{}/", folder.as_raw_fd()).as_bytes(), name].concat();
            let set =
                |attribute: &Attribute| lsetxattr(&*path, &*attribute.name, &attribute.value, XattrFlags::empty());
            self.apply_attributes(|attribute| match set(attribute) {
                // Links and devices cannot have user attributes at all.
                Err(Errno::PERM) => Ok(()),
                result => result,
            })?;
        }
        self.times().map_or(Ok(()), |times| utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW))
    }

    fn apply_attributes(&self, set: impl Fn(&Attribute) -> Result<()>) -> Result<()> {
        self.attributes.iter().try_for_each(|attribute| match set(attribute) {
            Err(Errno::OPNOTSUPP) => {
                let name = String::from_utf8_lossy(&attribute.name);
                tracing::warn!(attribute = %name, "the image store's file system keeps no such attribute; left out");
                Ok(())
            }
            result => result,
        })
    }

    fn is_of_root(&self) -> bool {
        self.uid == 0 && self.gid == 0
    }

    fn times(&self) -> Option<Timestamps> {
        let modified = self.modified?;
        let time = Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanos.into() };
        Some(Timestamps { last_access: time, last_modification: time })
    }
}

fn attributes_of(file: impl AsFd) -> Result<Vec<Attribute>> {
    let file = file.as_fd();
    let mut names = match flistxattr_query(file) {
        // The file system has none at all.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        length => Vec::with_capacity(length? + 256),
    };
    flistxattr(file, spare_capacity(&mut names))?;
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::with_capacity(fgetxattr_query(file, name)? + 256);
        fgetxattr(file, name, spare_capacity(&mut value))?;
        attributes.push(Attribute { name: name.to_vec(), value });
    }
    Ok(attributes)
}

/// Attributes that an image may set. Those of `trusted.` steer overlayfs and other parts of the host, `security.selinux`
/// and its like are the host's policy.
fn permitted(mut attributes: Vec<Attribute>) -> Vec<Attribute> {
    attributes.retain(|attribute| {
        let name = attribute.name.as_slice();
        matches!(
            name,
            b"security.capability" | b"security.ima" | b"system.posix_acl_access" | b"system.posix_acl_default"
        ) || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
    });
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_sets_no_attribute_that_steers_the_host() {
        let named = |name: &str| Attribute { name: name.into(), value: Vec::new() };
        let all =
            ["user.a", "security.capability", "trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"];
        let kept = permitted(all.iter().map(|name| named(name)).collect());
        assert_eq!(kept, [named("user.a"), named("security.capability")]);
    }
}
