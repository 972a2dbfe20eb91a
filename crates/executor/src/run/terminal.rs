//! Terminals of the container's own devpts.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, FsWord, OFlags, fstat, fstatfs, major, minor};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::failure::{Explain, StepError};
use super::mounts;
use super::root::{Made, Root};
use crate::plan::{Console, Depth};

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS_MAGIC: FsWord = 0x1cd1;

const PTMX: &str = "/dev/pts/ptmx";
const CONSOLE: &str = "/dev/console";

/// A new terminal: its master and its slave.
pub(super) fn open(root: &Root, columns: u16, rows: u16) -> Result<(OwnedFd, OwnedFd), StepError> {
    let master = root.open(Path::new(PTMX), OFlags::RDWR | OFlags::NOCTTY).explain(|| PTMX.into())?;
    // Whatever the container has put there must not get the shim to talk to it.
    let stat = fstat(&master)?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2)
        && fstatfs(&master)?.f_type == DEVPTS_MAGIC;
    if !is_ptmx {
        return Err(StepError::saying(format!("{PTMX} is not the multiplexer of a devpts")));
    }
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((master, slave))
}

/// Makes the slave the controlling terminal of this session and its stdin, stdout and stderr.
pub(super) fn control(slave: &OwnedFd) -> Result<(), StepError> {
    rustix::process::ioctl_tiocsctty(slave)?;
    rustix::stdio::dup2_stdin(slave)?;
    rustix::stdio::dup2_stdout(slave)?;
    rustix::stdio::dup2_stderr(slave)?;
    Ok(())
}

/// Shows the slave as `/dev/console`.
pub(super) fn bind_console(root: &Root, slave: &OwnedFd, console: Console) -> Result<(), StepError> {
    if console == Console::Absent {
        return Ok(());
    }
    let at = root.make(Path::new(CONSOLE), Made::File).explain(|| CONSOLE.into())?;
    let bound = mounts::copy(slave.as_fd(), Depth::Mount).explain(|| CONSOLE.into())?;
    mounts::attach(&bound, &at).explain(|| CONSOLE.into())
}
