//! A plain copy of layers seen as one tree: for file systems on which no overlay can be mounted, and for user namespaces
//! where the kernel cannot map the owners of layers.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cradle_engine::spec::UserNamespace;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, linkat, mkdirat, mknodat, openat, readlinkat, symlinkat};

use super::folders::OPEN_FOLDER;
use super::metadata::Metadata;
use super::union::{Found, Union, look_up};
use super::{file_type, path, shown, whiteouts};
use crate::limits::{COPY_DEPTH_MAX, COPY_ENTRIES_MAX, COPY_MAX_BYTES};

/// An image that cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{act} {path:?}")]
    System { act: &'static str, path: String, source: io::Error },
    #[error("it has more than {COPY_ENTRIES_MAX} files")]
    TooManyEntries,
    #[error("its files take more than {COPY_MAX_BYTES} bytes")]
    TooLarge,
    #[error("its folders are nested more than {COPY_DEPTH_MAX} deep")]
    TooDeep,
}

/// Copies what `union` shows into the empty folder `target`, with owners as they are or for a user namespace.
pub fn copy(union: &Union, target: OwnedFd, user: Option<&UserNamespace>) -> Result<(), CopyError> {
    let top = union.root().map_err(failed("opening the layers of", b"/"))?;
    let mut copy = Copy { target, user, links: HashMap::new(), entries: 0, bytes: 0 };
    let root = openat(&copy.target, ".", OPEN_FOLDER, Mode::empty()).map_err(failed("opening", b"/"))?;
    copy.folder(&top, &root, &[], 0)
}

/// A copy under way.
struct Copy<'a> {
    target: OwnedFd,
    user: Option<&'a UserNamespace>,
    /// Where the first of several names of a file went.
    links: HashMap<(u64, u64), Vec<u8>>,
    entries: u64,
    bytes: u64,
}

impl Copy<'_> {
    /// Copies what is in some merged folders, the top one first, and then what the top one is itself.
    fn folder(&mut self, merged: &[OwnedFd], into: &OwnedFd, at: &[u8], depth: usize) -> Result<(), CopyError> {
        if depth > COPY_DEPTH_MAX {
            return Err(CopyError::TooDeep);
        }
        for name in names(merged).map_err(failed("listing", at))? {
            let place = path::join(at, &name);
            match look_up(merged, &name).map_err(failed("looking at", &place))? {
                None => {}
                Some(Found::Folder(below)) => {
                    self.count(0)?;
                    mkdirat(into, &*name, Mode::from_raw_mode(0o700)).map_err(failed("making", &place))?;
                    let made = openat(into, &*name, OPEN_FOLDER, Mode::empty()).map_err(failed("opening", &place))?;
                    self.folder(&below, &made, &place, depth + 1)?;
                }
                Some(Found::Other { folder, name, stat }) => self.file(&folder, &name, &stat, into, place)?,
            }
        }
        let Some(top) = merged.first() else { return Ok(()) };
        let metadata = Metadata::of_file(top).map_err(failed("reading the attributes of", at))?;
        self.shifted(metadata).apply_to_folder(into).map_err(failed("setting owner, mode and times of", at))
    }

    fn file(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        stat: &Stat,
        into: &OwnedFd,
        place: Vec<u8>,
    ) -> Result<(), CopyError> {
        self.count(stat.st_blocks.cast_unsigned() * 512)?;
        let making = || failed("copying", &place);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let linked = linkat(&self.target, &**first, into, name, AtFlags::empty());
                return linked.map_err(making());
            }
            self.links.insert((stat.st_dev, stat.st_ino), place.clone());
        }
        match file_type(stat) {
            FileType::RegularFile => self.content(folder, name, into).map_err(failed("copying", &place)),
            FileType::Symlink => {
                let target = readlinkat(folder, name, Vec::new()).map_err(making())?;
                symlinkat(&*target, into, name).map_err(making())?;
                self.shifted(Metadata::of_stat(stat)).apply_to_link(into, name).map_err(making())
            }
            kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
                mknodat(into, name, kind, Mode::from_raw_mode(stat.st_mode & 0o777), stat.st_rdev).map_err(making())?;
                self.shifted(Metadata::of_stat(stat)).apply_to_node(into, name, ALL_BITS).map_err(making())
            }
            // Sockets are nobody's without their process.
            _ => Ok(()),
        }
    }

    fn content(&self, folder: &OwnedFd, name: &[u8], into: &OwnedFd) -> io::Result<()> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = File::from(openat(folder, name, read, Mode::empty())?);
        let metadata = self.shifted(Metadata::of_file(&from)?);
        let mut to = File::from(openat(into, name, write, metadata.creation_mode())?);
        io::copy(&mut from, &mut to)?;
        Ok(metadata.apply_to_file(&to, ALL_BITS)?)
    }

    fn shifted(&self, metadata: Metadata) -> Metadata {
        match self.user {
            Some(user) => metadata.shifted(user),
            None => metadata,
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), CopyError> {
        self.entries += 1;
        self.bytes += bytes;
        match (self.entries > COPY_ENTRIES_MAX, self.bytes > COPY_MAX_BYTES) {
            (true, _) => Err(CopyError::TooManyEntries),
            (_, true) => Err(CopyError::TooLarge),
            _ => Ok(()),
        }
    }
}

/// As a umask: the mode is set whatever it is.
const ALL_BITS: u32 = 0o777;

/// The names in some folders, without those that are no files.
fn names(folders: &[OwnedFd]) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut names = BTreeSet::new();
    for folder in folders {
        for entry in Dir::read_from(folder.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") && !name.starts_with(whiteouts::PREFIX) {
                names.insert(name.to_vec());
            }
        }
    }
    Ok(names)
}

fn failed<E: Into<io::Error>>(act: &'static str, path: &[u8]) -> impl FnOnce(E) -> CopyError {
    let path = format!("/{}", shown(path));
    move |error| CopyError::System { act, path, source: error.into() }
}
