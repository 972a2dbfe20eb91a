//! Whether overlays work where the store is: a real one is made, since file systems do not tell.

use std::fs;
use std::io;
use std::path::Path;

use cradle_domain::failure::Chain;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use crate::tree::OPAQUE_ATTRIBUTE;

/// What a file system cannot do that overlays need.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct TrialError {
    what: &'static str,
    source: io::Error,
}

impl TrialError {
    /// Whether the file system is full, which says nothing of what it can do.
    pub fn is_for_want_of_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// The whole chain, for people.
    pub fn words(&self) -> String {
        Chain(self).to_string()
    }
}

/// Makes an overlay in the folder `place`, which it makes, with all that layers consist of. The mount is attached nowhere
/// and gone at the end; the folder is the caller's to remove.
pub fn try_overlay(place: &Path) -> Result<(), TrialError> {
    let failed = |what| move |source: io::Error| TrialError { what, source };
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| place.join(name));
    for folder in [place, &lower, &upper, &work] {
        fs::create_dir(folder).map_err(failed("it cannot be written to"))?;
    }
    let whiteout = mknodat(CWD, lower.join("hidden"), FileType::CharacterDevice, Mode::empty(), makedev(0, 0));
    whiteout.map_err(|errno| failed("it cannot hold whiteouts")(errno.into()))?;
    let opaque = setxattr(&lower, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty());
    opaque.map_err(|errno| failed("it cannot hold the attributes of overlays")(errno.into()))?;
    let mount = || -> rustix::io::Result<()> {
        let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, c"lowerdir", &lower)?;
        fsconfig_set_string(&context, c"upperdir", &upper)?;
        fsconfig_set_string(&context, c"workdir", &work)?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(drop)
    };
    mount().map_err(|errno| failed("no overlay can be mounted upon it")(errno.into()))
}
