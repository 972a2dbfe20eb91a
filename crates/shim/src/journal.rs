//! The shim's own log: one JSON object a line, with the fields that the daemon's log has, so that one request id leads
//! through both.
//!
//! Nothing waits for the reader of this log: a line that cannot be written is dropped.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use cradle_domain::PodId;

use crate::log_line::Stamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// Where the lines go.
#[derive(Debug)]
pub struct Journal {
    target: OwnedFd,
    pod: PodId,
}

impl Journal {
    /// A journal to `target`, a file or the writing end of a pipe.
    pub fn new(target: OwnedFd, pod: PodId) -> Self {
        if let Ok(flags) = rustix::fs::fcntl_getfl(&target) {
            // Where this fails a full pipe would block; there is nobody to tell it to.
            let _ = rustix::fs::fcntl_setfl(&target, flags | rustix::fs::OFlags::NONBLOCK);
        }
        Journal { target, pod }
    }

    /// Writes a line; `request_id` is empty for what no request asked for.
    pub fn write(&self, level: Level, request_id: &str, message: &str) {
        let text = line(Stamp::now().text(), level, self.pod.as_str(), request_id, message);
        let _ = rustix::io::write(&self.target, text.as_bytes());
    }
}

fn line(time: &str, level: Level, pod: &str, request_id: &str, message: &str) -> String {
    let level = match level {
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let mut text = format!("{{\"timestamp\":\"{time}\",\"level\":\"{level}\",\"pod\":\"{pod}\"");
    if !request_id.is_empty() {
        text.push_str(",\"request_id\":");
        quote(&mut text, request_id);
    }
    text.push_str(",\"msg\":");
    quote(&mut text, message);
    text.push_str("}\n");
    text
}

/// Appends `value` as a JSON string (RFC 8259, section 7).
fn quote(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_the_message_holds() {
        let text = line("T", Level::Warn, "p", "r\"1", "a\\b\n\u{1}é");
        assert_eq!(
            text,
            "{\"timestamp\":\"T\",\"level\":\"WARN\",\"pod\":\"p\",\"request_id\":\"r\\\"1\",\
             \"msg\":\"a\\\\b\\n\\u0001é\"}\n"
        );
        assert!(!line("T", Level::Info, "p", "", "m").contains("request_id"));
    }
}
