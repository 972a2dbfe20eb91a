//! Replacing a file so that a crash leaves the old content or the new one, and never a mixture.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

/// Suffix of a file that is being written; one that is found is of a life that ended and may be removed.
pub const TEMPORARY_SUFFIX: &str = ".new";

/// Puts `content` in the place of `name` in the folder `directory`. It outlives the death of this process, and a power cut
/// only where something else syncs it: for files that describe processes, which a reboot ends as well.
///
/// # Errors
/// Those of openat(2), write(2) and renameat2(2); the old content is then still there.
pub fn replace(directory: impl AsFd, name: &str, content: &[u8]) -> io::Result<()> {
    let directory = directory.as_fd();
    let temporary = format!("{name}{TEMPORARY_SUFFIX}");
    let put = write_new(directory, &temporary, content).and_then(|()| exchange(directory, &temporary, name));
    if put.is_err() {
        // The write's own error is the one to tell; what is left of it is removed at the next start otherwise.
        let _ = unlinkat(directory, &temporary, AtFlags::empty());
    }
    put
}

/// Puts the new file in the old one's place by exchanging their names. A rename onto the old one would do, but ext4 then
/// writes out the data first (ext4(5), `auto_da_alloc`): 0.1 to 0.3 ms instead of 3 µs.
fn exchange(directory: BorrowedFd<'_>, temporary: &str, name: &str) -> io::Result<()> {
    match renameat_with(directory, temporary, directory, name, RenameFlags::EXCHANGE) {
        // The old content, which is removed at the next start if not now.
        Ok(()) => Ok(unlinkat(directory, temporary, AtFlags::empty())?),
        // There is none yet, or the file system cannot exchange.
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => Ok(renameat(directory, temporary, directory, name)?),
        Err(errno) => Err(errno.into()),
    }
}

fn write_new(directory: BorrowedFd<'_>, name: &str, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = File::from(openat(directory, name, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(content)
}

/// Makes the entries of a folder outlive a power cut. O_PATH descriptors cannot be synced, so it is opened anew.
pub fn sync_directory(directory: impl AsFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    File::from(openat(directory, ".", flags, Mode::empty())?).sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_content_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let directory = File::open(folder.path()).unwrap();
        replace(&directory, "record", b"old").unwrap();
        replace(&directory, "record", b"new").unwrap();
        assert_eq!(std::fs::read(folder.path().join("record")).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let directory = File::open(folder.path()).unwrap();
        replace(&directory, "record", b"old").unwrap();
        std::fs::create_dir(folder.path().join("record.new")).unwrap();
        assert!(replace(&directory, "record", b"new").is_err());
        assert_eq!(std::fs::read(folder.path().join("record")).unwrap(), b"old");
        std::fs::remove_dir(folder.path().join("record.new")).unwrap();
        std::fs::remove_file(folder.path().join("record")).unwrap();
        std::fs::create_dir(folder.path().join("record")).unwrap();
        assert!(replace(&directory, "record", b"new").is_err());
    }
}
