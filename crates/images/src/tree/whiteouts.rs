//! What hides files of the layers below.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev, mknodat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::folders::{Folder, open_beneath};
use super::{LayerForm, Tree, TreeError, file_type, is_whiteout, path, shown};

/// Names that begin so are no files.
pub const PREFIX: &[u8] = b".wh.";
/// Hides all that the layers below have in its folder.
pub const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of aufs' own bookkeeping that old images still carry.
const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// Makes an empty file that is none of the image's; it may be there.
pub fn make_marker(folder: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty()).map(drop)
}

/// Whether a folder has such a file.
pub fn has_marker(folder: impl AsFd, name: &[u8]) -> rustix::io::Result<bool> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
        Err(errno) => Err(errno),
    }
}

impl Tree {
    /// Applies an entry whose name begins with [`PREFIX`], whatever its type: some writers make whiteouts hard links.
    pub(super) fn white_out(&mut self, parent: &[u8], name: &[u8], entry: &[u8]) -> Result<(), TreeError> {
        if name == OPAQUE {
            let folder = self.folder(parent, entry)?;
            return self.directories.mark_opaque(&folder.path);
        }
        if name.starts_with(AUFS_PREFIX) {
            return Ok(());
        }
        let hidden = &name[PREFIX.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(TreeError::Climbs { entry: shown(entry), how: "it hides a folder itself or the one above" });
        }
        let folder = self.folder(parent, entry)?;
        self.white_out_name(&folder, hidden, entry)
    }

    /// Hides `name` of the layers below; what this layer has of that name stays.
    pub(super) fn white_out_name(&mut self, folder: &Folder, name: &[u8], entry: &[u8]) -> Result<(), TreeError> {
        let hiding = || TreeError::system("making the whiteout", entry);
        let place = path::join(&folder.path, name);
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if file_type(&stat) == FileType::Directory => self.directories.mark_opaque(&place),
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                let made = match self.form {
                    LayerForm::Overlay => {
                        mknodat(folder, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
                    }
                    LayerForm::Plain => make_marker(folder, &[PREFIX, name].concat()),
                };
                made.map_err(hiding())?;
                self.count(0);
                self.directories.charge(place.len() + 32)?;
                self.whiteouts.push(place);
                Ok(())
            }
            Err(errno) => Err(hiding()(errno)),
        }
    }

    /// A folder that hides all below needs no whiteouts within, and overlayfs would list them as broken names.
    pub(super) fn drop_hidden_whiteouts(&mut self) -> Result<(), TreeError> {
        for place in std::mem::take(&mut self.whiteouts) {
            if !self.directories.is_hidden_below(&place) {
                continue;
            }
            let dropping = || TreeError::system("dropping the whiteout", &place);
            let (parent, name) = path::split(&place);
            let folder = match open_beneath(&*self.root, parent) {
                Ok(folder) => folder,
                // Replaced since.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(dropping()(errno)),
            };
            match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_whiteout(&stat) => {
                    unlinkat(&folder, name, AtFlags::empty()).map_err(dropping())?;
                    self.usage.inodes = self.usage.inodes.saturating_sub(1);
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(dropping()(errno)),
            }
        }
        Ok(())
    }
}
