//! Overlays of any number of folders.

use std::ffi::CStr;
use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, mount, unmount,
};

use super::failure::{Explain, StepError};
use super::mounts;
use super::root::Root;
use crate::limits::MOUNT_DATA_MAX_BYTES;
use crate::plan::{Depth, Writable};

/// The kernel takes no longer value for one option (fsconfig(2)).
const VALUE_MAX_BYTES: usize = 255;

/// The upper folder is not synchronized.
const VOLATILE: &CStr = c"volatile";

/// An overlay to be mounted. Without an index, which some kernels keep by default: it serves only NFS and hard links
/// broken up by copying, and forbids to use the upper folder with other lower ones later. Volatile where the kernel can
/// (Linux 5.10): else the end of a container waits until all of the file system below it is on the disk, whoever wrote
/// there, and what a container wrote into its own layer is of no use after a power cut.
pub(super) struct Overlay<'a> {
    /// The topmost first.
    pub lower: &'a [PathBuf],
    pub writable: Option<&'a Writable>,
    pub label: Option<&'a str>,
}

impl Overlay<'_> {
    /// Mounts it at an open folder.
    pub(super) fn mount(&self, at: &OwnedFd) -> Result<(), StepError> {
        if let Some(writable) = self.writable {
            allow_again(&writable.work)?;
        }
        match self.mount_by_context(at) {
            // Before Linux 6.8 there is no "lowerdir+", and one value holds only a few folders.
            Err(None) => self.mount_by_page(at),
            Err(Some(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.lower.iter().chain(self.writable.iter().flat_map(|writable| [&writable.upper, &writable.work]))
    }

    /// Each folder as an option of its own. `None`: this kernel, or the length of a path, does not allow it.
    fn mount_by_context(&self, at: &OwnedFd) -> Result<(), Option<StepError>> {
        if self.paths().any(|path| path.as_os_str().len() > VALUE_MAX_BYTES) {
            return Err(None);
        }
        let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).explain(|| "overlay".into())?;
        for (place, folder) in self.lower.iter().enumerate() {
            match fsconfig_set_string(&context, c"lowerdir+", folder.as_path()) {
                Err(Errno::INVAL) if place == 0 => return Err(None),
                Err(Errno::INVAL) => return Err(invalid(&context)),
                result => result.explain(|| named(folder, &context))?,
            }
        }
        let set =
            |key: &str, value: &Path| fsconfig_set_string(&context, key, value).explain(|| named(value, &context));
        set("index", Path::new("off"))?;
        if let Some(writable) = self.writable {
            set("upperdir", &writable.upper)?;
            set("workdir", &writable.work)?;
            fsconfig_set_flag(&context, VOLATILE).explain(|| mounts::messages(&context))?;
        }
        if let Some(label) = self.label {
            set("context", Path::new(label))?;
        }
        match fsconfig_create(&context) {
            Err(Errno::INVAL) => return Err(invalid(&context)),
            created => created.explain(|| mounts::messages(&context))?,
        }
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, mounts::flags(0))
            .explain(|| mounts::messages(&context))?;
        Ok(mounts::attach(&mount, at).explain(String::new)?)
    }

    /// All folders in the one page of mount(2), relative to the folder that they all lie in. Changes the working
    /// directory.
    fn mount_by_page(&self, at: &OwnedFd) -> Result<(), StepError> {
        let base = common_folder(self.paths());
        let folder = openat(CWD, &base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|folder| rustix::process::fchdir(&folder));
        folder.explain(|| base.display().to_string())?;
        let target = format!("/proc/self/fd/{}", at.as_raw_fd());
        let mount_page = |is_volatile: bool| {
            let options = page(&base, self, is_volatile).ok_or(Errno::TOOBIG)?;
            let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
            mount("overlay", &target, "overlay", MountFlags::empty(), options.as_c_str())
        };
        let mounted = match mount_page(self.writable.is_some()) {
            Err(Errno::INVAL) if self.writable.is_some() => mount_page(false),
            mounted => mounted,
        };
        mounted.explain(|| format!("overlay of {} folders", self.lower.len()))
    }
}

/// The kernel marks the work folder of a volatile overlay, and refuses to mount it again: the machine may have crashed.
/// Here it has not: what a container wrote before a reboot is never mounted again. But a start that failed is repeated.
fn allow_again(work: &Path) -> Result<(), StepError> {
    let mark = work.join("work/incompat/volatile");
    for (path, flags) in [(mark.join("dirty"), AtFlags::empty()), (mark, AtFlags::REMOVEDIR)] {
        match unlinkat(CWD, &path, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).explain(|| path.display().to_string()),
        }
    }
    Ok(())
}

/// An overlay, or what is at a path inside, mounted nowhere yet.
///
/// It is made on its topmost folder and taken away from there again: an overlay that is attached nowhere cannot be
/// entered by kernels before Linux 6.15.
pub(super) fn open(
    lower: &[PathBuf],
    writable: Option<&Writable>,
    sub_path: Option<&Path>,
) -> Result<OwnedFd, StepError> {
    let top = lower.first().ok_or_else(|| StepError::saying("an overlay of nothing"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || openat(CWD, top, flags, Mode::empty()).explain(|| top.display().to_string());
    let folder = open()?;
    // The kernel refuses an overlay of one folder; it would show just that folder.
    if lower.len() == 1 && writable.is_none() {
        return part(folder, sub_path);
    }
    Overlay { lower, writable, label: None }.mount(&folder)?;
    let shown = open().and_then(|root| part(root, sub_path));
    unmount(top, UnmountFlags::DETACH).explain(|| top.display().to_string())?;
    shown
}

/// A copy of the mount at `path` inside `root`, or of all of it. An image's links lead nowhere else.
fn part(root: OwnedFd, path: Option<&Path>) -> Result<OwnedFd, StepError> {
    let shown = match path {
        Some(path) => Root::new(root).open(path, OFlags::PATH).explain(|| format!("sub path {}", path.display()))?,
        None => root,
    };
    mounts::copy(shown.as_fd(), Depth::Mount).explain(String::new)
}

/// Why options are invalid; none: the kernel is one before Linux 6.5, which only collects them at first, and refuses too
/// many of them by a message of its own and an unknown one without.
fn invalid(context: &OwnedFd) -> Option<StepError> {
    let messages = mounts::messages(context);
    let collected = messages.is_empty() || messages.starts_with("VFS: Legacy");
    (!collected).then(|| StepError { detail: messages, errno: Errno::INVAL.raw_os_error() })
}

fn named(folder: &Path, context: &OwnedFd) -> String {
    let messages = mounts::messages(context);
    let colon = if messages.is_empty() { "" } else { ": " };
    format!("{}{colon}{messages}", folder.display())
}

/// The longest path that all paths begin with.
fn common_folder<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> PathBuf {
    let common = |one: PathBuf, other: &PathBuf| {
        one.components().zip(other.components()).take_while(|(a, b)| a == b).map(|(part, _)| part).collect()
    };
    let mut paths = paths.peekable();
    let first = paths.peek().and_then(|path| path.parent()).unwrap_or(Path::new("/")).to_owned();
    paths.fold(first, common)
}

/// The options as one text; none: they are too long, or a path has a character with a meaning.
fn page(base: &Path, overlay: &Overlay<'_>, is_volatile: bool) -> Option<String> {
    let relative = |path: &Path| {
        let text = path.strip_prefix(base).ok()?.to_str()?.to_owned();
        (!text.is_empty() && !text.contains([',', ':', '\\'])).then_some(text)
    };
    let lower: Option<Vec<String>> = overlay.lower.iter().map(|path| relative(path)).collect();
    let mut text = format!("index=off,lowerdir={}", lower?.join(":"));
    if let Some(writable) = overlay.writable {
        let (upper, work) = (relative(&writable.upper)?, relative(&writable.work)?);
        write!(text, ",upperdir={upper},workdir={work}").ok()?;
    }
    if is_volatile {
        text.push_str(",volatile");
    }
    if let Some(label) = overlay.label {
        write!(text, ",context=\"{label}\"").ok()?;
    }
    (text.len() < MOUNT_DATA_MAX_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_given_relative_to_where_they_all_lie() {
        let lower: Vec<PathBuf> = ["/var/s/2/fs", "/var/s/1/fs"].map(PathBuf::from).into();
        let writable = Writable { upper: "/var/s/c/upper".into(), work: "/var/s/c/work".into() };
        let overlay = Overlay { lower: &lower, writable: Some(&writable), label: None };
        let base = common_folder(overlay.paths());
        assert_eq!(base, Path::new("/var/s"));
        assert_eq!(
            page(&base, &overlay, true).unwrap(),
            "index=off,lowerdir=2/fs:1/fs,upperdir=c/upper,workdir=c/work,volatile"
        );
    }

    #[test]
    fn a_page_holds_128_short_folders_and_no_ambiguous_one() {
        let lower: Vec<PathBuf> = (0..128).map(|n| format!("/var/lib/cradle/images/snapshots/{n}/fs").into()).collect();
        let overlay = Overlay { lower: &lower, writable: None, label: None };
        assert!(page(Path::new("/var/lib/cradle/images/snapshots"), &overlay, false).is_some());
        assert!(page(Path::new("/"), &overlay, false).is_none());
        let lower = [PathBuf::from("/a/x:y"), PathBuf::from("/a/z")];
        assert!(page(Path::new("/a"), &Overlay { lower: &lower, writable: None, label: None }, false).is_none());
    }

    #[test]
    fn the_common_folder_of_one_path_is_the_one_above() {
        assert_eq!(common_folder([PathBuf::from("/a/b")].iter()), Path::new("/a"));
        assert_eq!(common_folder(["/a/b", "/c"].map(PathBuf::from).iter()), Path::new("/"));
        assert_eq!(common_folder(["/a/b", "/a"].map(PathBuf::from).iter()), Path::new("/a"));
    }
}
