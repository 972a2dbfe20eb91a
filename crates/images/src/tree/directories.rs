//! Folders keep their owner, mode, attributes and times until the archive's end: a new entry would change the times, a
//! set-gid bit or a default ACL would spread to what is made within, and a later entry may say something else.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fsetxattr, fstat};

use super::folders::open_beneath;
use super::metadata::Metadata;
use super::{LayerForm, OPAQUE_ATTRIBUTE, TreeError, Usage, path, whiteouts};
use crate::limits::DIRECTORIES_MAX_BYTES;

/// The folders of a tree, by path.
#[derive(Default)]
pub struct Directories {
    known: BTreeMap<Vec<u8>, Directory>,
    /// What `known` takes, about.
    bytes: usize,
    any_opaque: bool,
}

/// How a folder came to be.
pub enum Origin {
    /// By an entry.
    Entry(Metadata),
    /// By an entry within it.
    Implied,
}

struct Directory {
    /// None for an implied one.
    metadata: Option<Metadata>,
    opaque: bool,
}

/// About what a folder takes beside its path and attributes.
const DIRECTORY_BYTES: usize = 128;

impl Directories {
    /// Adds a folder; a later entry of the same folder overrides the earlier one.
    pub fn add(&mut self, path: &[u8], origin: Origin) -> Result<(), TreeError> {
        let metadata = match origin {
            Origin::Entry(metadata) => Some(metadata),
            Origin::Implied => None,
        };
        let attributes: usize = metadata.iter().map(Metadata::attribute_bytes).sum();
        self.charge(path.len() + DIRECTORY_BYTES + attributes)?;
        match self.known.get_mut(path) {
            Some(directory) => directory.metadata = metadata.or(directory.metadata.take()),
            None => drop(self.known.insert(path.to_vec(), Directory { metadata, opaque: false })),
        }
        Ok(())
    }

    /// Counts bytes that are kept until the archive's end.
    pub fn charge(&mut self, bytes: usize) -> Result<(), TreeError> {
        self.bytes += bytes;
        if self.bytes > DIRECTORIES_MAX_BYTES { Err(TreeError::TooManyDirectories) } else { Ok(()) }
    }

    /// Hides what the layers below have in this folder.
    pub fn mark_opaque(&mut self, path: &[u8]) -> Result<(), TreeError> {
        if !self.known.contains_key(path) {
            self.add(path, Origin::Implied)?;
        }
        if let Some(directory) = self.known.get_mut(path) {
            directory.opaque = true;
            self.any_opaque = true;
        }
        Ok(())
    }

    /// Forgets a folder that was replaced, and those within.
    pub fn remove(&mut self, path: &[u8]) {
        let within = |other: &[u8]| other.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
        let gone: Vec<Vec<u8>> = self
            .known
            .range(path.to_vec()..)
            .take_while(|(other, _)| other.starts_with(path))
            .filter(|(other, _)| within(other))
            .map(|(other, _)| other.clone())
            .collect();
        for path in gone {
            self.known.remove(&path);
        }
    }

    /// Whether a folder above this path hides the layers below.
    pub fn is_hidden_below(&self, path: &[u8]) -> bool {
        let opaque = |path: &[u8]| self.known.get(path).is_some_and(|directory| directory.opaque);
        self.any_opaque && (opaque(b"") || path::ancestors(path).any(opaque))
    }

    /// Folders that take owner and mode from the layers below.
    pub fn implied(&self) -> Vec<Vec<u8>> {
        self.known
            .iter()
            .filter(|(path, directory)| {
                // The root of a layer never counts: no tool writes an entry for it to mean "as below".
                directory.metadata.is_none() && !path.is_empty() && !directory.opaque && !self.is_hidden_below(path)
            })
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// The root's own entry.
    pub fn root(&self) -> Option<&Metadata> {
        self.known.get(&b""[..]).and_then(|directory| directory.metadata.as_ref())
    }

    /// Gives all folders their owner, mode, attributes and times.
    pub fn finish(&self, root: impl AsFd, form: LayerForm) -> Result<Usage, TreeError> {
        let mut usage = Usage::default();
        for (path, directory) in self.known.iter().rev() {
            let finishing = || TreeError::system("setting owner, mode and times of the folder", path);
            let handle = open_beneath(root.as_fd(), path).map_err(finishing())?;
            let implied = Metadata::of_implied_folder();
            let metadata = directory.metadata.as_ref().unwrap_or(&implied);
            match form {
                LayerForm::Overlay if directory.opaque => {
                    fsetxattr(&handle, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty()).map_err(finishing())?;
                }
                LayerForm::Plain if directory.opaque => {
                    whiteouts::make_marker(&handle, whiteouts::OPAQUE).map_err(finishing())?;
                    usage.inodes += 1;
                }
                LayerForm::Overlay | LayerForm::Plain => {}
            }
            metadata.apply_to_folder(&handle).map_err(finishing())?;
            usage.inodes += 1;
            usage.bytes += fstat(&handle).map_err(finishing())?.st_blocks.cast_unsigned() * 512;
        }
        Ok(usage)
    }
}
