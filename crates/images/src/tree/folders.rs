//! Finds, opens and, where need be, makes the folders in which entries lie.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;

use super::directories::Origin;
use super::{Tree, TreeError, file_type, is_whiteout, path, shown};
use crate::limits::{LINKS_FOLLOWED_MAX, OPEN_FOLDERS_MAX};

/// An open folder of the layer.
pub struct Folder {
    handle: OwnedFd,
    /// Where it is, free of symbolic links; the root's is empty.
    pub path: Vec<u8>,
}

impl Folder {
    pub fn new(handle: OwnedFd, path: Vec<u8>) -> Self {
        Folder { handle, path }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

pub const OPEN_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the folder at a path without symbolic links.
pub fn open_beneath(root: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    if path.is_empty() {
        return openat(root, ".", OPEN_FOLDER, Mode::empty());
    }
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(root, path, OPEN_FOLDER, Mode::empty(), resolve)
}

/// What to do where a folder is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Stop,
}

/// The way to a folder, component by component.
struct Walk {
    at: Rc<Folder>,
    /// Components still to go, the next one last.
    ahead: Vec<Vec<u8>>,
    links: usize,
}

impl Tree {
    /// The folder at a cleaned path; what is missing of it is made. `entry` is for messages.
    pub(super) fn folder(&mut self, written: &[u8], entry: &[u8]) -> Result<Rc<Folder>, TreeError> {
        if written.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(at) = self.open.iter().rposition(|(known, _)| known == written) {
            let found = Rc::clone(&self.open[at].1);
            if at + 1 != self.open.len() {
                let latest = self.open.remove(at);
                self.open.push(latest);
            }
            return Ok(found);
        }
        let folder = match open_beneath(&*self.root, written) {
            Ok(handle) => Rc::new(Folder::new(handle, written.to_vec())),
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => match self.walk(written, entry, Missing::Make)? {
                Some(folder) => folder,
                None => return Err(TreeError::system("making the folder of", entry)(Errno::NOENT)),
            },
            Err(errno) => return Err(TreeError::system("opening the folder of", entry)(errno)),
        };
        if self.open.len() == OPEN_FOLDERS_MAX {
            self.open.remove(0);
        }
        self.open.push((written.to_vec(), Rc::clone(&folder)));
        Ok(folder)
    }

    /// The folder at a cleaned path, if this layer has it.
    pub(super) fn existing_folder(&mut self, written: &[u8], entry: &[u8]) -> Result<Option<Rc<Folder>>, TreeError> {
        self.walk(written, entry, Missing::Stop)
    }

    /// Goes to a folder as a process in a container would, with the layer's root as `/`.
    fn walk(&mut self, written: &[u8], entry: &[u8], missing: Missing) -> Result<Option<Rc<Folder>>, TreeError> {
        let mut walk = Walk { at: Rc::clone(&self.root), ahead: Vec::new(), links: 0 };
        walk.go(written);
        while let Some(name) = walk.ahead.pop() {
            match name.as_slice() {
                b"" | b"." => {}
                b".." if walk.at.path.is_empty() => {
                    return Err(TreeError::Climbs {
                        entry: shown(entry),
                        how: "a symbolic link on its path climbs above the root",
                    });
                }
                b".." => {
                    let above = path::split(&walk.at.path).0.to_vec();
                    let handle =
                        open_beneath(&*self.root, &above).map_err(TreeError::system("opening the folder of", entry))?;
                    walk.at = Rc::new(Folder::new(handle, above));
                }
                _ => {
                    if !self.step(&mut walk, &name, entry, missing)? {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(Some(walk.at))
    }

    /// One component further; false: it is not there and is not to be made.
    fn step(&mut self, walk: &mut Walk, name: &[u8], entry: &[u8], missing: Missing) -> Result<bool, TreeError> {
        let opening = || TreeError::system("opening the folder of", entry);
        let below = path::join(&walk.at.path, name);
        let found = match statat(&*walk.at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(opening()(errno)),
        };
        match found {
            Some(stat) if file_type(&stat) == FileType::Symlink => {
                walk.links += 1;
                if walk.links > LINKS_FOLLOWED_MAX {
                    return Err(TreeError::LinkLoop { entry: shown(entry) });
                }
                let target = readlinkat(&*walk.at, name, Vec::new()).map_err(opening())?.into_bytes();
                if target.starts_with(b"/") {
                    walk.at = Rc::clone(&self.root);
                }
                walk.go(&target);
                return Ok(true);
            }
            Some(stat) if file_type(&stat) == FileType::Directory => {}
            Some(stat) if is_whiteout(&stat) && missing == Missing::Stop => return Ok(false),
            None if missing == Missing::Stop => return Ok(false),
            Some(stat) if is_whiteout(&stat) => {
                // The folder begins anew in this layer, whatever those below have in its place.
                unlinkat(&*walk.at, name, AtFlags::empty()).map_err(opening())?;
                self.imply(&walk.at, name, &below, entry)?;
                self.directories.mark_opaque(&below)?;
            }
            Some(_) => return Err(TreeError::BeneathFile { entry: shown(entry), component: shown(&below) }),
            None => self.imply(&walk.at, name, &below, entry)?,
        }
        let handle = openat(&*walk.at, name, OPEN_FOLDER, Mode::empty()).map_err(opening())?;
        walk.at = Rc::new(Folder::new(handle, below));
        Ok(true)
    }

    fn imply(&mut self, folder: &Folder, name: &[u8], path: &[u8], entry: &[u8]) -> Result<(), TreeError> {
        mkdirat(folder, name, Mode::from_raw_mode(0o700)).map_err(TreeError::system("making the folder of", entry))?;
        self.directories.add(path, Origin::Implied)
    }

    /// Forgets open folders, since a folder or a symbolic link on the way to one may be gone.
    pub(super) fn forget_open(&mut self) {
        self.open.clear();
    }
}

impl Walk {
    fn go(&mut self, path: &[u8]) {
        self.ahead.extend(path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
    }
}
