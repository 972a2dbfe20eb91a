//! The container's root as a descriptor, and everything beneath it by descriptors.
//!
//! Whatever the image or a volume contains, the kernel resolves it as if the root were `/` (openat2(2),
//! RESOLVE_IN_ROOT): neither `..` nor a symbolic link leads out, and magic links are refused. What was opened is then
//! used by its descriptor, never by its path again.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, mknodat, openat2, readlinkat, statat};
use rustix::io::{Errno, Result};

use crate::limits::{RESOLVE_ATTEMPTS_MAX, SYMLINKS_MAX};

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The root of a container.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

/// What a mount point is made as, where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Directory,
    File,
}

impl Root {
    /// `fd` is the root's directory.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Root(fd)
    }

    /// Opens what is at a path.
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        open_in(self.as_fd(), path, flags, IN_ROOT)
    }

    /// Opens what is at a path that must not lead over a symbolic link: where somebody who redirects it would gain
    /// something.
    pub(super) fn open_directly(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        open_in(self.as_fd(), path, flags, IN_ROOT.union(ResolveFlags::NO_SYMLINKS))
    }

    /// Opens what is at a path; what is missing of it is made: folders with mode 755, a file, empty, with 644.
    pub(super) fn make(&self, path: &Path, made: Made) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => self.make_missing(path, made),
            other => other,
        }
    }

    /// The root's own directory.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    fn make_missing(&self, path: &Path, made: Made) -> Result<OwnedFd> {
        let mut path = path.to_owned();
        for _ in 0..=SYMLINKS_MAX {
            match self.make_components(&path, made)? {
                Outcome::Opened(fd) => return Ok(fd),
                Outcome::Dangles(target) => path = target,
            }
        }
        Err(Errno::LOOP)
    }

    /// Makes what is missing below the deepest folder that exists, up to the first symbolic link whose target is missing.
    fn make_components(&self, path: &Path, made: Made) -> Result<Outcome> {
        let mut missing = Vec::new();
        let mut parent = None;
        for ancestor in path.ancestors() {
            match self.open(ancestor, OFlags::PATH) {
                Ok(found) => {
                    parent = Some(found);
                    break;
                }
                Err(Errno::NOENT) => missing.push(ancestor),
                Err(error) => return Err(error),
            }
        }
        let mut parent = parent.ok_or(Errno::NOENT)?;
        while let Some(next) = missing.pop() {
            let kind = if missing.is_empty() { made } else { Made::Directory };
            parent = match next.components().next_back() {
                // Above a folder that was just made lies one that is open by another name.
                Some(Component::ParentDir) => self.open(next, OFlags::PATH)?,
                Some(Component::Normal(name)) => match self.make_one(parent.as_fd(), name, next, kind)? {
                    Outcome::Opened(fd) => fd,
                    Outcome::Dangles(target) => {
                        let rest = path.strip_prefix(next).unwrap_or(Path::new(""));
                        return Ok(Outcome::Dangles(target.join(rest)));
                    }
                },
                _ => return Err(Errno::INVAL),
            };
        }
        Ok(Outcome::Opened(parent))
    }

    /// Makes `name` in `parent`, which is the folder above `walked`.
    fn make_one(&self, parent: BorrowedFd<'_>, name: &OsStr, walked: &Path, made: Made) -> Result<Outcome> {
        let result = match made {
            Made::Directory => mkdirat(parent, name, Mode::from_raw_mode(0o755)),
            Made::File => mknodat(parent, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0),
        };
        match result {
            Ok(()) => {}
            Err(Errno::EXIST) if is_link(parent, name) => {
                let target = readlinkat(parent, name, Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                let folder = walked.parent().unwrap_or(Path::new("/"));
                return Ok(Outcome::Dangles(folder.join(target)));
            }
            // Somebody else with the same volume has made it meanwhile.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        open_in(parent, Path::new(name), OFlags::PATH, resolve).map(Outcome::Opened)
    }
}

enum Outcome {
    Opened(OwnedFd),
    /// A symbolic link leads to this path, where there is nothing.
    Dangles(PathBuf),
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open_in(directory: BorrowedFd<'_>, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
    for _ in 0..RESOLVE_ATTEMPTS_MAX {
        match openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename or mount somewhere on the way: whether `..` led out cannot be told this time.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

fn is_link(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// What an open file is, as a mount point for it must be.
pub(super) fn kind_of(fd: &OwnedFd) -> Result<Made> {
    let is_directory = FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory;
    Ok(if is_directory { Made::Directory } else { Made::File })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("root")).unwrap();
        fs::write(outside.path().join("secret"), "").unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(outside.path().join("root"), flags, Mode::empty()).unwrap();
        (outside, Root::new(fd))
    }

    #[test]
    fn no_path_leads_out_of_the_root() {
        let (outside, root) = root();
        let inside = outside.path().join("root");
        symlink("../secret", inside.join("up")).unwrap();
        symlink(outside.path().join("secret"), inside.join("absolute")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        for path in ["/../secret", "/up", "/absolute", "/magic/etc", "/x/../../secret"] {
            assert_eq!(root.open(Path::new(path), OFlags::PATH).unwrap_err(), Errno::NOENT, "{path}");
        }
    }

    #[test]
    fn what_is_made_is_made_beneath_the_root_even_over_links() {
        let (outside, root) = root();
        let inside = outside.path().join("root");
        symlink(outside.path().join("absolute"), inside.join("absolute")).unwrap();
        symlink("../../../other", inside.join("up")).unwrap();
        root.make(Path::new("/absolute/a"), Made::Directory).unwrap();
        root.make(Path::new("/up"), Made::File).unwrap();
        root.make(Path::new("/a/b/../c/file"), Made::File).unwrap();
        let beneath = inside.join(outside.path().strip_prefix("/").unwrap());
        assert!(beneath.join("absolute/a").is_dir());
        assert!(inside.join("other").is_file());
        assert!(inside.join("a/c/file").is_file());
        assert!(!outside.path().join("absolute").exists() && !outside.path().join("other").exists());
        assert_eq!(kind_of(&root.make(Path::new("/a/c/file"), Made::File).unwrap()).unwrap(), Made::File);
    }

    #[test]
    fn links_in_a_circle_end_as_an_error() {
        let (outside, root) = root();
        let inside = outside.path().join("root");
        symlink("two", inside.join("one")).unwrap();
        symlink("one", inside.join("two")).unwrap();
        assert_eq!(root.make(Path::new("/one/x"), Made::Directory).unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn a_link_is_not_followed_where_it_must_not() {
        let (outside, root) = root();
        let inside = outside.path().join("root");
        fs::create_dir(inside.join("real")).unwrap();
        symlink("real", inside.join("proc")).unwrap();
        assert_eq!(root.open_directly(Path::new("/proc"), OFlags::PATH).unwrap_err(), Errno::LOOP);
        assert!(root.open_directly(Path::new("/real"), OFlags::PATH).is_ok());
    }
}
