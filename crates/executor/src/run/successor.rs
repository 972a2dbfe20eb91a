//! A process that takes the place of the one that made it.
//!
//! A process cannot enter a PID namespace, only its children can; and what shall belong to a user namespace must be made
//! by a process in it, while the shim stays outside. So the shim's child enters the user namespace and makes a process
//! that is the shim's child as well, tells the shim which, and ends.

use cradle_sys::SingleThreaded;
use cradle_sys::process::{self, Cloned, NewNamespaces};
use rustix::io::{Result, read, write};
use rustix::pipe::{PipeFlags, pipe_with};

use super::line::Line;

/// Makes the successor, with new namespaces, and returns in it alone; it has gone nowhere before its parent was told.
pub(crate) fn succeed(new: NewNamespaces, line: &Line, single: &SingleThreaded) -> Result<()> {
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    match process::clone_sibling(new, single)? {
        Cloned::Parent { pid, pidfd } => {
            let said = line.send_successor(pid, &pidfd).and_then(|()| write(&tell, b"t"));
            process::exit(i32::from(said.is_err()))
        }
        Cloned::Child => {
            drop(tell);
            match read(&told, &mut [0; 1]) {
                Ok(1) => Ok(()),
                // The one before was killed, and nobody has heard of this one.
                _ => process::exit(1),
            }
        }
    }
}
