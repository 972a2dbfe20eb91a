//! Why an archive does not become a tree.

use std::io;

use cradle_domain::{Class, Classified};
use rustix::io::Errno;

use crate::limits::{DIRECTORIES_MAX_BYTES, ENTRIES_MAX, LINKS_FOLLOWED_MAX};
use crate::tar::TarError;

/// Why a tree cannot grow on.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("the layer is not a tar archive that can be read")]
    Tar(#[source] TarError),
    #[error("the entry {entry:?} would leave the layer: {how}")]
    Climbs { entry: String, how: &'static str },
    #[error("the entry {entry:?} would replace the layer's root folder")]
    ReplacesRoot { entry: String },
    #[error("the entry {entry:?} lies beneath {component:?}, which is not a folder")]
    BeneathFile { entry: String, component: String },
    #[error("the entry {entry:?} leads through more than {LINKS_FOLLOWED_MAX} symbolic links")]
    LinkLoop { entry: String },
    #[error("the hard link {entry:?} names {target:?}, which neither this layer nor one below has as a file")]
    LinkTarget { entry: String, target: String },
    #[error("the symbolic link {entry:?} names nothing")]
    EmptyLink { entry: String },
    #[error("the layer has more than {ENTRIES_MAX} entries")]
    TooManyEntries,
    #[error("the paths of the layer's folders need more than {DIRECTORIES_MAX_BYTES} bytes")]
    TooManyDirectories,
    #[error("{act} {entry:?}")]
    System { act: &'static str, entry: String, source: io::Error },
}

impl TreeError {
    pub(super) fn system(act: &'static str, entry: &[u8]) -> impl FnOnce(Errno) -> TreeError {
        let entry = super::shown(entry);
        move |errno| TreeError::System { act, entry, source: errno.into() }
    }

    pub(super) fn io(act: &'static str, entry: &[u8]) -> impl FnOnce(io::Error) -> TreeError {
        let entry = super::shown(entry);
        move |source| TreeError::System { act, entry, source }
    }

    /// Whether reading stopped because the stage before this one did: that one's error is the one to tell.
    pub fn is_interruption(&self) -> bool {
        matches!(self, TreeError::Tar(TarError::Read(_)))
    }
}

impl Classified for TreeError {
    fn class(&self) -> Class {
        match self {
            TreeError::System { source, .. } => class_of(source),
            TreeError::Tar(_)
            | TreeError::Climbs { .. }
            | TreeError::ReplacesRoot { .. }
            | TreeError::BeneathFile { .. }
            | TreeError::LinkLoop { .. }
            | TreeError::LinkTarget { .. }
            | TreeError::EmptyLink { .. }
            | TreeError::TooManyEntries
            | TreeError::TooManyDirectories => Class::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            TreeError::System { source, .. } if class_of(source) == Class::Exhausted => {
                "free space or inodes on the file system of the image store and pull again".into()
            }
            TreeError::System { .. } => return None,
            TreeError::Tar(_) => "the image was built or pushed wrongly; build it anew".into(),
            _ => "the image is malformed or hostile; do not use it".into(),
        })
    }
}

/// The class of an error of the store's own file system.
pub fn class_of(error: &io::Error) -> Class {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Class::Exhausted,
        Some(Errno::IO | Errno::ROFS) => Class::Unavailable,
        Some(Errno::NAMETOOLONG | Errno::FBIG | Errno::INVAL | Errno::ILSEQ) => Class::Invalid,
        _ => Class::Bug,
    }
}
