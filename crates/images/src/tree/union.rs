//! Layers seen as one tree, as overlayfs shows them, without mounting it: for reading a file of an image and for what a
//! layer takes from those below.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fgetxattr, openat, readlinkat, statat};
use rustix::io::Errno;

use super::folders::OPEN_FOLDER;
use super::whiteouts::{self, has_marker};
use super::{OPAQUE_ATTRIBUTE, file_type, is_whiteout};
use crate::limits::LINKS_FOLLOWED_MAX;

/// The roots of some layers, the top one first.
pub struct Union {
    roots: Vec<OwnedFd>,
}

/// What a path names.
pub enum Found {
    /// The folders of that path that are merged, the top one first.
    Folder(Vec<OwnedFd>),
    /// Anything else, by its folder and name.
    Other { folder: OwnedFd, name: Vec<u8>, stat: Stat },
}

/// Whether symbolic links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// As a process in a container follows them: `/` is the union's root, and `..` goes no higher.
    Follow,
    Keep,
}

/// Why a file of an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path:?} of the image is not a regular file")]
    NotAFile { path: String },
    #[error("{path:?} of the image is larger than {max_bytes} bytes")]
    TooLarge { path: String, max_bytes: u64 },
    #[error("reading {path:?} of the image")]
    Read { path: String, source: io::Error },
}

impl Union {
    pub fn new(roots: Vec<OwnedFd>) -> Self {
        Union { roots }
    }

    /// What `path` names, if anything.
    pub fn find(&self, path: &[u8], links: Links) -> io::Result<Option<Found>> {
        let mut ahead: Vec<Vec<u8>> = Vec::new();
        let go = |ahead: &mut Vec<Vec<u8>>, path: &[u8]| {
            ahead.extend(path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        };
        go(&mut ahead, path);
        // The way so far, free of links: where `..` and relative links start from.
        let mut way: Vec<Vec<u8>> = Vec::new();
        let mut folders = self.root()?;
        let mut followed = 0;
        while let Some(name) = ahead.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    way.pop();
                    folders = self.descend(&way)?;
                    continue;
                }
                _ => {}
            }
            match look_up(&folders, &name)? {
                None => return Ok(None),
                Some(Found::Folder(below)) => {
                    way.push(name);
                    folders = below;
                }
                Some(Found::Other { folder, name, stat }) => {
                    let is_link = file_type(&stat) == FileType::Symlink;
                    if is_link && links == Links::Follow {
                        followed += 1;
                        if followed > LINKS_FOLLOWED_MAX {
                            return Err(Errno::LOOP.into());
                        }
                        let target = readlinkat(&folder, &*name, Vec::new())?.into_bytes();
                        if target.starts_with(b"/") {
                            way.clear();
                            folders = self.root()?;
                        }
                        go(&mut ahead, &target);
                        continue;
                    }
                    let is_last = ahead.iter().all(|component| matches!(component.as_slice(), b"" | b"."));
                    return Ok(is_last.then_some(Found::Other { folder, name, stat }));
                }
            }
        }
        Ok(Some(Found::Folder(folders)))
    }

    /// The content of a regular file of at most `max_bytes`, links followed; absent: none.
    pub fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let failed = |source: io::Error| ReadError::Read { path: path.to_owned(), source };
        let (folder, name, stat) = match self.find(path.as_bytes(), Links::Follow).map_err(failed)? {
            None => return Ok(None),
            Some(Found::Folder(_)) => return Err(ReadError::NotAFile { path: path.to_owned() }),
            Some(Found::Other { folder, name, stat }) => (folder, name, stat),
        };
        if file_type(&stat) != FileType::RegularFile {
            return Err(ReadError::NotAFile { path: path.to_owned() });
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder, &*name, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let mut content = Vec::new();
        File::from(file).take(max_bytes.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > max_bytes {
            return Err(ReadError::TooLarge { path: path.to_owned(), max_bytes });
        }
        Ok(Some(content))
    }

    /// The roots that are merged, the top one first.
    pub fn root(&self) -> io::Result<Vec<OwnedFd>> {
        let mut merged = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            let root = openat(root, ".", OPEN_FOLDER, Mode::empty())?;
            let hides = is_opaque(root.as_fd())?;
            merged.push(root);
            if hides {
                break;
            }
        }
        Ok(merged)
    }

    fn descend(&self, way: &[Vec<u8>]) -> io::Result<Vec<OwnedFd>> {
        let mut folders = self.root()?;
        for name in way {
            folders = match look_up(&folders, name)? {
                Some(Found::Folder(below)) => below,
                _ => return Err(Errno::NOTDIR.into()),
            };
        }
        Ok(folders)
    }
}

/// One name in merged folders.
pub fn look_up(folders: &[OwnedFd], name: &[u8]) -> io::Result<Option<Found>> {
    let marker = [whiteouts::PREFIX, name].concat();
    let mut merged = Vec::new();
    for folder in folders {
        let hides = has_marker(folder, &marker)?;
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if hides => break,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if file_type(&stat) == FileType::Directory {
            let below = openat(folder, name, OPEN_FOLDER, Mode::empty())?;
            let hides = hides || is_opaque(below.as_fd())?;
            merged.push(below);
            if hides {
                break;
            }
        } else if merged.is_empty() && !is_whiteout(&stat) {
            let folder = openat(folder, ".", OPEN_FOLDER, Mode::empty())?;
            return Ok(Some(Found::Other { folder, name: name.to_vec(), stat }));
        } else {
            // A whiteout, or a file beneath a folder: both end the merge.
            break;
        }
    }
    Ok((!merged.is_empty()).then_some(Found::Folder(merged)))
}

fn is_opaque(folder: BorrowedFd<'_>) -> io::Result<bool> {
    let mut value = [0u8; 1];
    match fgetxattr(folder, OPAQUE_ATTRIBUTE, &mut value) {
        Ok(1) => Ok(value == *b"y"),
        // ERANGE: it is longer, so it is not ours.
        Ok(_) | Err(Errno::NODATA | Errno::RANGE | Errno::OPNOTSUPP) => Ok(has_marker(folder, whiteouts::OPAQUE)?),
        Err(errno) => Err(errno.into()),
    }
}
