//! This program's own terminal: as the process inside wants it, and put back in the end.

use std::io::{self, IsTerminal};

use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::Error;

/// Whether somebody types.
pub fn is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// The terminal's columns and rows.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdin()).ok()?;
    Some((size.ws_col, size.ws_row))
}

/// Every key goes to the process, Ctrl-C too. Dropped, the terminal is as it was.
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// # Errors
    /// Stdin is no terminal, or one that is gone.
    pub fn enter() -> Result<Self, Error> {
        let cannot = |errno| Error::Local(format!("cannot set this terminal up: {errno}"));
        let before = tcgetattr(stdin()).map_err(cannot)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(cannot)?;
        Ok(RawMode { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}
