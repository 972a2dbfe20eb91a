//! Where progress is shown, on stderr: on a terminal as a frame that is drawn over, elsewhere as one line for each layer
//! that is here. Whatever cannot be shown is not worth failing for.
//!
//! The cursor always rests below the frame, at the beginning of a line: whoever ends this program at any moment finds
//! the terminal as it should be.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use super::display;
use super::layers::Layers;
use crate::output::note;

/// The size of a terminal that does not tell.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Where progress is shown.
pub enum View {
    Nothing,
    Lines,
    /// The frame has so many lines now.
    Terminal {
        lines: usize,
    },
}

impl View {
    /// What suits this program's stderr.
    pub fn for_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if io::stderr().is_terminal() && !dumb { View::Terminal { lines: 0 } } else { View::Lines }
    }

    /// Shows the layers; those in the places `ended` are here since the last time.
    pub fn show(&mut self, layers: &Layers, ended: &[usize]) {
        match self {
            View::Nothing => {}
            View::Lines => ended.iter().for_each(|at| note(display::ended(&layers.all[*at]))),
            View::Terminal { lines } => {
                let (columns, rows) = size();
                // The last column and the last row stay free, lest the terminal wraps or scrolls.
                let frame = display::frame(layers, columns.saturating_sub(1), rows.saturating_sub(1), Instant::now());
                // In one piece, lest it flickers.
                let _ = io::stderr().write_all(drawing(&frame, *lines).as_bytes());
                *lines = frame.len();
            }
        }
    }

    /// Sums up a pull that is done.
    pub fn finish(&mut self, layers: &Layers, image: &str) {
        match self {
            View::Nothing => {}
            View::Lines | View::Terminal { .. } => note(display::summary(layers, image, Instant::now())),
        }
    }
}

/// What draws a frame over one of `before` lines.
fn drawing(frame: &[String], before: usize) -> String {
    let mut text = String::new();
    if before > 0 {
        // Up to its first line. Writing to a string cannot fail.
        let _ = write!(text, "\x1b[{before}A");
    }
    for line in frame {
        // To the end of the line there may be more of the old one.
        let _ = writeln!(text, "{line}\x1b[K");
    }
    if frame.len() < before {
        text.push_str("\x1b[J");
    }
    text
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL_SIZE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_drawn_over_the_one_before_and_leaves_the_cursor_below() {
        let frame = ["a".to_owned(), "b".to_owned()];
        assert_eq!(drawing(&frame, 0), "a\x1b[K\nb\x1b[K\n");
        assert_eq!(drawing(&frame, 1), "\x1b[1Aa\x1b[K\nb\x1b[K\n");
        assert_eq!(drawing(&frame, 3), "\x1b[3Aa\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(drawing(&[], 0), "");
    }
}
