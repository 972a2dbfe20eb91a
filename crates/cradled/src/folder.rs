//! The daemon's two folders: made if they are missing, closed to others, and held by one daemon at a time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use cradle_domain::{Class, Classified};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::limits::{TAKE_FOLDER, TAKE_FOLDER_PAUSE};

/// Images and sockets of all pods are in there: nobody but root.
const FOLDER_MODE: u32 = 0o700;
const LOCK_FILE: &str = "cradled.lock";

/// A folder that is ours for as long as this value lives; the kernel releases it at our death.
#[derive(Debug)]
pub struct HeldFolder {
    _lock: File,
}

/// A folder that the daemon cannot have.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot make the folder {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot lock {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("the folder {} is used by another cradled (process {holder})", path.display())]
    Held { path: PathBuf, holder: String },
}

impl Classified for FolderError {
    fn class(&self) -> Class {
        match self {
            FolderError::Make { .. } | FolderError::Lock { .. } => Class::Unavailable,
            FolderError::Held { .. } => Class::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            FolderError::Make { .. } | FolderError::Lock { .. } => None,
            FolderError::Held { .. } => Some("Give each daemon a root, a state and a socket of its own.".to_owned()),
        }
    }
}

/// Makes the folder and takes it.
pub fn hold(folder: &Path) -> Result<HeldFolder, FolderError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    made.map_err(|source| FolderError::Make { path: folder.to_owned(), source })?;
    let path = folder.join(LOCK_FILE);
    let failed = |source| FolderError::Lock { path: path.clone(), source };
    let options = &mut File::options();
    let mut lock =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
    let deadline = Instant::now() + TAKE_FOLDER;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(TAKE_FOLDER_PAUSE),
            Err(Errno::WOULDBLOCK) => return Err(held_by(folder, &mut lock)),
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    // For people who ask who holds it; what counts is the lock, also when there is no space.
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(HeldFolder { _lock: lock })
}

fn held_by(folder: &Path, lock: &mut File) -> FolderError {
    let mut holder = String::new();
    let known = lock.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
    let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
    FolderError::Held { path: folder.to_owned(), holder }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_daemon_at_a_time_and_names_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let first = hold(&folder).unwrap();
        let refused = hold(&folder).unwrap_err().to_string();
        let own = std::process::id();
        assert_eq!(refused, format!("the folder {} is used by another cradled (process {own})", folder.display()));
        drop(first);
        hold(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = hold(&file.path().join("x")).unwrap_err();
        assert!(matches!(error, FolderError::Make { .. }), "{error:?}");
    }
}
