//! One entry after the other becomes a file, link, folder, device or fifo.

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Dev, FileType, Mode, OFlags, fstatfs, ftruncate, linkat, makedev, mkdirat, mknodat, openat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::directories::{Directories, Origin};
use super::folders::Folder;
use super::metadata::Metadata;
use super::{Dependence, Grown, LayerForm, PendingLink, RootDirectory, Tree, TreeError, Usage, file_type, is_whiteout};
use super::{measure, path, remove, shown};
use crate::limits::ENTRIES_MAX;
use crate::tar::{Entry, Kind, Reader, Segment};

impl Tree {
    /// A tree that grows in the empty folder `root`, made by a process with this umask.
    pub fn new(root: OwnedFd, umask: u32) -> Result<Self, TreeError> {
        let stat = fstatfs(&root).map_err(TreeError::system("looking at the file system of", b"/"))?;
        let mut directories = Directories::default();
        directories.add(b"", Origin::Implied)?;
        Ok(Tree {
            form: LayerForm::Overlay,
            root: Rc::new(Folder::new(root, Vec::new())),
            open: Vec::new(),
            directories,
            whiteouts: Vec::new(),
            links: Vec::new(),
            usage: Usage::default(),
            replaced: false,
            umask,
            block_bytes: u64::try_from(stat.f_bsize).unwrap_or(4096).max(512),
            entries: 0,
        })
    }

    /// The same, in another form.
    #[must_use]
    pub fn in_form(self, form: LayerForm) -> Self {
        Tree { form, ..self }
    }

    /// Grows all of an archive.
    pub fn grow<R: BufRead>(&mut self, archive: &mut Reader<R>) -> Result<(), TreeError> {
        while let Some(entry) = archive.next().map_err(TreeError::Tar)? {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(TreeError::TooManyEntries);
            }
            self.apply(entry, archive)?;
        }
        Ok(())
    }

    /// Sets what had to wait for the archive's end.
    pub fn finish(mut self) -> Result<Grown, TreeError> {
        self.forget_open();
        self.drop_hidden_whiteouts()?;
        let folders = self.directories.finish(&*self.root, self.form)?;
        let usage = if self.replaced {
            measure(&*self.root).map_err(TreeError::io("measuring", b"/"))?
        } else {
            Usage { bytes: self.usage.bytes + folders.bytes, inodes: self.usage.inodes + folders.inodes }
        };
        let root = self.directories.root().map(|root| RootDirectory { mode: root.mode, uid: root.uid, gid: root.gid });
        Ok(Grown { usage, root, dependence: Dependence { implied: self.directories.implied(), links: self.links } })
    }

    fn apply<R: BufRead>(&mut self, mut entry: Entry, archive: &mut Reader<R>) -> Result<(), TreeError> {
        let cleaned = path::clean(&entry.path).map_err(|_climbs| TreeError::Climbs {
            entry: shown(&entry.path),
            how: "its name climbs above the root",
        })?;
        let kind = std::mem::replace(&mut entry.kind, Kind::Directory);
        if cleaned.is_empty() {
            return match kind {
                Kind::Directory => self.directories.add(b"", Origin::Entry(Metadata::of_entry(entry))),
                _ => Err(TreeError::ReplacesRoot { entry: shown(&entry.path) }),
            };
        }
        let (parent, name) = path::split(&cleaned);
        if name.starts_with(super::whiteouts::PREFIX) {
            return self.white_out(parent, name, &cleaned);
        }
        let folder = self.folder(parent, &cleaned)?;
        let metadata = Metadata::of_entry(entry);
        match kind {
            Kind::File { size, segments } => {
                self.make_file(&folder, &cleaned, &metadata, Content { size, segments: segments.as_deref() }, archive)
            }
            Kind::Directory => self.make_directory(&folder, &cleaned, metadata),
            Kind::HardLink { target } => self.make_hard_link(&folder, &cleaned, &target),
            Kind::Symlink { target } if target.is_empty() => Err(TreeError::EmptyLink { entry: shown(&cleaned) }),
            Kind::Symlink { target } => {
                self.make(&folder, &cleaned, |folder, name| symlinkat(&*target, folder, name))?;
                self.count(if target.len() < INLINE_LINK_BYTES { 0 } else { target.len() as u64 });
                metadata
                    .apply_to_link(&*folder, name)
                    .map_err(TreeError::system("setting owner and times of", &cleaned))
            }
            Kind::CharacterDevice { major: 0, minor: 0 } => self.white_out_name(&folder, name, &cleaned),
            Kind::CharacterDevice { major, minor } => {
                self.make_node(&folder, &cleaned, &metadata, FileType::CharacterDevice, makedev(major, minor))
            }
            Kind::BlockDevice { major, minor } => {
                self.make_node(&folder, &cleaned, &metadata, FileType::BlockDevice, makedev(major, minor))
            }
            Kind::Fifo => self.make_node(&folder, &cleaned, &metadata, FileType::Fifo, 0),
        }
    }

    fn make_file<R: BufRead>(
        &mut self,
        folder: &Folder,
        path: &[u8],
        metadata: &Metadata,
        content: Content<'_>,
        archive: &mut Reader<R>,
    ) -> Result<(), TreeError> {
        const FLAGS: OFlags =
            OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
        let mode = metadata.creation_mode();
        let file = self.make(folder, path, |folder, name| openat(folder, name, FLAGS, mode))?;
        let mut file = File::from(file);
        let written = content.write(&mut file, path, archive)?;
        self.count(written);
        metadata.apply_to_file(&file, self.umask).map_err(TreeError::system("setting owner, mode and times of", path))
    }

    fn make_directory(&mut self, folder: &Folder, path: &[u8], metadata: Metadata) -> Result<(), TreeError> {
        let making = || TreeError::system("making the folder", path);
        let name = path::split(path).1;
        let place = path::join(&folder.path, name);
        // The mode is for the time of growing only.
        let mode = Mode::from_raw_mode(0o700);
        match mkdirat(folder, name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(making())?;
                if file_type(&stat) != FileType::Directory {
                    self.clear(folder, path)?;
                    mkdirat(folder, name, mode).map_err(making())?;
                    // What was in its place hid the folder that a layer below may have there.
                    self.directories.mark_opaque(&place)?;
                }
            }
            Err(errno) => return Err(making()(errno)),
        }
        self.directories.add(&place, Origin::Entry(metadata))
    }

    fn make_node(
        &mut self,
        folder: &Folder,
        path: &[u8],
        metadata: &Metadata,
        kind: FileType,
        device: Dev,
    ) -> Result<(), TreeError> {
        let mode = metadata.creation_mode();
        self.make(folder, path, |folder, name| mknodat(folder, name, kind, mode, device))?;
        self.count(0);
        let name = path::split(path).1;
        metadata
            .apply_to_node(folder, name, self.umask)
            .map_err(TreeError::system("setting owner, mode and times of", path))
    }

    /// Links share everything with their target, so the entry's own owner and mode are not looked at.
    fn make_hard_link(&mut self, folder: &Folder, path: &[u8], target: &[u8]) -> Result<(), TreeError> {
        let cleaned = path::clean(target).map_err(|_climbs| TreeError::Climbs {
            entry: shown(path),
            how: "the target of the hard link climbs above the root",
        })?;
        if cleaned == path {
            return Ok(());
        }
        let linking = || TreeError::system("making the hard link", path);
        let Some(found) = self.find(&cleaned, path)? else {
            self.directories.charge(path.len() + cleaned.len() + 64)?;
            self.clear_if_there(folder, path)?;
            self.links.push(PendingLink { path: path::join(&folder.path, path::split(path).1), target: cleaned });
            return Ok(());
        };
        let target_name = path::split(&cleaned).1;
        if found.path == folder.path && target_name == path::split(path).1 {
            return Ok(());
        }
        let stat = statat(&*found, target_name, AtFlags::SYMLINK_NOFOLLOW).map_err(linking())?;
        if file_type(&stat) == FileType::Directory {
            return Err(TreeError::LinkTarget { entry: shown(path), target: shown(target) });
        }
        self.make(folder, path, |folder, name| linkat(&*found, target_name, folder, name, AtFlags::empty()))
    }

    /// The folder of this layer that has `wanted`, if one does; nothing is made for it.
    fn find(&mut self, wanted: &[u8], entry: &[u8]) -> Result<Option<Rc<Folder>>, TreeError> {
        let (parent, name) = path::split(wanted);
        if name.is_empty() {
            return Err(TreeError::LinkTarget { entry: shown(entry), target: "/".into() });
        }
        let Some(folder) = self.existing_folder(parent, entry)? else { return Ok(None) };
        match statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => Ok(None),
            Ok(_) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(TreeError::system("looking for the target of", entry)(errno)),
        }
    }

    /// Makes a name. What has it already is removed first: the last entry of a name wins.
    fn make<T>(
        &mut self,
        folder: &Folder,
        path: &[u8],
        act: impl Fn(&Folder, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T, TreeError> {
        let name = path::split(path).1;
        match act(folder, name) {
            Err(Errno::EXIST) => {
                self.clear(folder, path)?;
                act(folder, name).map_err(TreeError::system("replacing", path))
            }
            made => made.map_err(TreeError::system("making", path)),
        }
    }

    fn clear_if_there(&mut self, folder: &Folder, path: &[u8]) -> Result<(), TreeError> {
        match statat(folder, path::split(path).1, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => self.clear(folder, path),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(TreeError::system("replacing", path)(errno)),
        }
    }

    /// Removes what has a name in this layer.
    fn clear(&mut self, folder: &Folder, path: &[u8]) -> Result<(), TreeError> {
        let name = path::split(path).1;
        self.replaced = true;
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(TreeError::system("replacing", path))?;
        match file_type(&stat) {
            FileType::Directory => {
                self.forget_open();
                self.directories.remove(&path::join(&folder.path, name));
                remove(folder.as_fd(), name).map_err(TreeError::io("replacing", path))
            }
            kind => {
                if kind == FileType::Symlink {
                    self.forget_open();
                }
                unlinkat(folder, name, AtFlags::empty()).map_err(TreeError::system("replacing", path))
            }
        }
    }

    /// Counts something made that has `bytes` of data.
    pub(super) fn count(&mut self, bytes: u64) {
        self.usage.inodes += 1;
        self.usage.bytes += bytes.next_multiple_of(self.block_bytes);
    }
}

/// Targets of symbolic links shorter than this are in the inode itself (ext4, as the commonest file system).
const INLINE_LINK_BYTES: usize = 60;

/// The bytes of a file and where they go.
struct Content<'a> {
    size: u64,
    segments: Option<&'a [Segment]>,
}

impl Content<'_> {
    /// Copies the data from the archive straight to the file; answers with the bytes written.
    fn write<R: BufRead>(&self, file: &mut File, path: &[u8], archive: &mut Reader<R>) -> Result<u64, TreeError> {
        let Some(segments) = self.segments else {
            let mut written = 0;
            loop {
                let data = archive.data().map_err(TreeError::Tar)?;
                let count = data.len();
                if count == 0 {
                    return Ok(written);
                }
                file.write_all(data).map_err(TreeError::io("writing", path))?;
                archive.consume(count);
                written += count as u64;
            }
        };
        let mut written = 0;
        for segment in segments {
            let mut done = 0;
            while done < segment.length {
                let data = archive.data().map_err(TreeError::Tar)?;
                let most = usize::try_from(segment.length - done).unwrap_or(usize::MAX);
                let count = data.len().min(most);
                if count == 0 {
                    return Err(TreeError::Tar(crate::tar::TarError::Truncated));
                }
                file.write_all_at(&data[..count], segment.offset + done).map_err(TreeError::io("writing", path))?;
                archive.consume(count);
                done += count as u64;
            }
            written += segment.length;
        }
        ftruncate(file, self.size).map_err(TreeError::system("writing", path))?;
        Ok(written)
    }
}
