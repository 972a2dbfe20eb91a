//! Removing a group from every tree.

use cradle_domain::{Class, Classified};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::file::FileError;
use super::group::Cgroup;
use super::kill::subtree;
use super::layout::Hierarchy;
use super::limits::REMOVE_PAUSES;

/// A group could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("removing a control group")]
pub struct RemoveError {
    source: FileError,
}

impl Classified for RemoveError {
    fn class(&self) -> Class {
        self.source.class()
    }

    fn hint(&self) -> Option<String> {
        (self.source.errno() == Errno::BUSY).then(|| "it still has processes; kill them first".to_owned())
    }
}

impl Cgroup {
    /// Removes the group and all below it from every tree. Missing is removed. A group whose last process is just
    /// dying is tried again, for 0.2 s in all.
    pub fn remove(&self) -> Result<(), RemoveError> {
        let tracking = self.layout().tracking();
        let is_own =
            |tree: &&Hierarchy| !self.is_exec() || tracking.is_some_and(|tracking| std::ptr::eq(tracking, *tree));
        let mut left: Vec<&Hierarchy> = self.layout().hierarchies().iter().filter(is_own).collect();
        let mut pauses = REMOVE_PAUSES.iter();
        loop {
            let mut busy = None;
            left.retain(|tree| match remove_from(tree, self.path_in(tree)) {
                Ok(()) => false,
                Err(error) => {
                    busy = Some(error);
                    true
                }
            });
            match (busy, pauses.next()) {
                (None, _) => return Ok(()),
                (Some(error), Some(pause)) if error.errno() == Errno::BUSY => std::thread::sleep(*pause),
                (Some(source), _) => return Err(RemoveError { source }),
            }
        }
    }

    /// Removes the group, and nothing below it, from the trees where it is empty. It is left where it is not.
    pub fn remove_if_empty(&self) {
        for tree in self.layout().hierarchies() {
            // Whoever is in it, or below it, keeps it.
            let _ = remove_one(tree, self.path_in(tree));
        }
    }
}

fn remove_from(tree: &Hierarchy, path: &str) -> Result<(), FileError> {
    match remove_one(tree, path) {
        // Groups below it, or processes.
        Err(error) if error.errno() == Errno::BUSY => {
            subtree(tree, path)?.iter().rev().try_for_each(|group| remove_one(tree, group))
        }
        done => done,
    }
}

fn remove_one(tree: &Hierarchy, path: &str) -> Result<(), FileError> {
    match tree.root().and_then(|root| unlinkat(root, path, AtFlags::REMOVEDIR)) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(source) => Err(FileError::new("removing", tree, path, source)),
    }
}
