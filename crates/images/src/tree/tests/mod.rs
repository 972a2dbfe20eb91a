//! Trees grown from archives on the real file system. Owners and devices need root.

mod against_gnu_tar;
mod hostile;
mod layers;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::tar::Reader;
pub use crate::tar::testing::{Archive, Made};

/// Whether a test that needs root can run. A skip is printed, and a failure where `TEST_REQUIRE` has `root`.
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let required = std::env::var("TEST_REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|tier| tier == "root"));
    assert!(is_root || !required, "TEST_REQUIRE asks for root");
    if !is_root {
        eprintln!("SKIP: owners and devices of layers need root");
    }
    is_root
}

/// The folder of a layer within one that shows whether anything got out.
pub struct Ground {
    around: TempDir,
    root: std::path::PathBuf,
}

impl Ground {
    pub fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        let root = around.path().join("inner/layer");
        fs::create_dir_all(&root).unwrap();
        Ground { around, root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn handle(&self) -> OwnedFd {
        fs::File::open(&self.root).unwrap().into()
    }

    pub fn grow(&self, archive: &[u8]) -> Result<Grown, TreeError> {
        let mut tree = Tree::new(self.handle(), 0o022)?;
        tree.grow(&mut Reader::new(Cursor::new(archive)))?;
        tree.finish()
    }

    pub fn grow_of(&self, entries: impl IntoIterator<Item = Made>) -> Result<Grown, TreeError> {
        self.grow(&Archive::of(entries))
    }

    /// Nothing but the layer's folder is there.
    pub fn assert_nothing_got_out(&self) {
        let names = |path: &Path| -> Vec<_> { fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect() };
        assert_eq!(names(self.around.path()), ["inner"]);
        assert_eq!(names(&self.around.path().join("inner")), ["layer"]);
    }

    /// A description of all that is in the layer, by path.
    pub fn listing(&self) -> BTreeMap<String, String> {
        let mut listing = BTreeMap::new();
        describe(&self.root, &self.root, &mut listing);
        listing
    }
}

fn describe(root: &Path, folder: &Path, listing: &mut BTreeMap<String, String>) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let stat = fs::symlink_metadata(&path).unwrap();
        let kind = stat.file_type();
        let content = if kind.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if kind.is_file() {
            format!("{} {:?}", stat.size(), String::from_utf8_lossy(&fs::read(&path).unwrap()))
        } else if kind.is_char_device() || kind.is_block_device() {
            format!("{:x}", stat.rdev())
        } else {
            String::new()
        };
        let links = if kind.is_dir() { 0 } else { stat.nlink() };
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let text = format!(
            "{:o} {}:{} {}.{} links={links} {content} {}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.mtime(),
            stat.mtime_nsec(),
            attributes(&path)
        );
        listing.insert(name, text);
        if kind.is_dir() {
            describe(root, &path, listing);
        }
    }
}

/// All extended attributes but overlayfs' own.
pub fn attributes(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let count = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut found: Vec<String> = names[..count]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !name.starts_with(b"trusted."))
        .map(|name| {
            let mut value = vec![0; 4096];
            let count = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            format!("{}={:?}", String::from_utf8_lossy(name), &value[..count])
        })
        .collect();
    found.sort();
    found.join(" ")
}

pub fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    rustix::fs::lgetxattr(path, OPAQUE_ATTRIBUTE, &mut value[..]).is_ok_and(|count| value[..count] == *b"y")
}

pub fn is_white(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|stat| stat.file_type().is_char_device() && stat.rdev() == 0)
}
