//! Grows a layer's file tree from its archive, beneath a directory handle, in the form that overlayfs reads.
//!
//! Paths. The archive is hostile. An entry's folder is opened with openat2(2) beneath the layer's root and without
//! following links; the name itself is only used with calls that do not follow it. Where a folder on the way is a
//! symbolic link of this layer, it is followed as a process in a container would, with the layer's root as `/`; a link
//! or name that climbs above the root is an error. Nothing is ever resolved by string.
//!
//! Whiteouts. `.wh.NAME` hides NAME of the layers below: a character device 0:0, in overlayfs' terms. `.wh..wh..opq`
//! hides all that they have in its folder: the attribute `trusted.overlay.opaque`. Neither touches what this layer
//! itself brings, whichever comes first in the archive (OCI image-spec, layer.md, Whiteouts).
//!
//! A file system that can hold neither gets files of those names instead ([`LayerForm::Plain`]); no overlay is mounted there,
//! and `copy` makes of the layers what containers see.
//!
//! Dependence. A layer is kept once for all images that have it, so what it becomes must not depend on what lies below.
//! Two things do: a folder that the archive only implies takes owner and mode of that folder below, and a hard link may
//! name a file below. They are listed in [`Dependence`]; `settle` does them once the layers below are known, and such a
//! layer is kept for its chain only.

mod apply;
mod copy;
mod directories;
mod error;
mod folders;
mod measure;
mod metadata;
mod path;
mod remove;
mod settle;
mod shift;
#[cfg(test)]
pub mod tests;
mod union;
mod whiteouts;

use std::rc::Rc;

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

pub use copy::{CopyError, copy};
pub use error::{TreeError, class_of};
pub use folders::OPEN_FOLDER;
pub use measure::measure;
pub use remove::remove;
pub use settle::settle;
pub use shift::owner;
pub use union::{ReadError, Union};

use directories::Directories;
use folders::Folder;

/// How a layer says what it hides of those below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerForm {
    /// As overlayfs reads it.
    #[default]
    Overlay,
    /// By empty files that are named as in the archive, where the file system cannot hold the other form.
    Plain,
}

/// A tree that is growing.
pub struct Tree {
    form: LayerForm,
    root: Rc<Folder>,
    /// Folders opened lately, by their path as written; the last one is the latest.
    open: Vec<(Vec<u8>, Rc<Folder>)>,
    directories: Directories,
    /// Whiteouts made, by their path.
    whiteouts: Vec<Vec<u8>>,
    links: Vec<PendingLink>,
    usage: Usage,
    /// Something was replaced, so that `usage` is not what is there.
    replaced: bool,
    /// Permission bits that the process's umask takes from new files.
    umask: u32,
    block_bytes: u64,
    entries: u64,
}

/// What has grown.
#[derive(Debug)]
pub struct Grown {
    pub usage: Usage,
    /// Owner and mode of the layer's root, where the archive has an entry for it.
    pub root: Option<RootDirectory>,
    pub dependence: Dependence,
}

/// Space taken on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub inodes: u64,
}

/// Owner and mode of a root folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootDirectory {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What a layer takes from those below.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dependence {
    /// Folders without an entry of their own.
    pub implied: Vec<Vec<u8>>,
    /// Hard links whose target this layer does not have.
    pub links: Vec<PendingLink>,
}

impl Dependence {
    pub fn is_none(&self) -> bool {
        self.implied.is_empty() && self.links.is_empty()
    }
}

/// A hard link to a file of a layer below.
#[derive(Debug, PartialEq, Eq)]
pub struct PendingLink {
    pub path: Vec<u8>,
    pub target: Vec<u8>,
}

/// The attribute by which overlayfs knows a folder that hides those below.
pub const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// overlayfs' mark of a name that is hidden in the layers below.
fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// For messages: image paths are bytes.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
