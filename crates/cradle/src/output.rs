//! Printing for people and pipes. `println!` panics when its reader has left; this is an error as any other.

use std::fmt::Display;
use std::io::{self, Write};

use crate::error::Error;

/// Prints a line to stdout.
pub fn line(text: impl Display) -> Result<(), Error> {
    writeln!(io::stdout().lock(), "{text}").map_err(Error::Output)
}

/// Prints text as it is to stdout.
pub fn text(text: impl Display) -> Result<(), Error> {
    write!(io::stdout().lock(), "{text}").map_err(Error::Output)
}

/// Tells the user something beside the output.
pub fn note(text: impl Display) {
    // There is nobody to tell if this fails.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
