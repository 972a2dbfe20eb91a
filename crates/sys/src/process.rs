//! Making and shaping processes: clone3, namespaces, signals, sessions.

use rustix::io::Result;

use crate::errno::check;

/// unshare(CLONE_THREAD): does nothing, and succeeds only in a process with one thread.
pub(crate) fn unshare_thread() -> Result<()> {
    // SAFETY: unshare takes no pointer, and this flag changes no state of the process.
    check(unsafe { libc::unshare(libc::CLONE_THREAD) }.into()).map(drop)
}
