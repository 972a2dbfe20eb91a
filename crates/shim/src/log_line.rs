//! A container's output as lines of the CRI log format, without I/O.
//!
//! One line is `2026-11-30T13:20:51.123456789Z stdout F text\n`: the time at which its end was read, the stream, `F` or
//! `P`, and the text. A line longer than the limit is written in parts tagged `P`, the last of them `F`; what has no
//! line end when the stream ends is a `P` as well, so that putting the texts together, with a line end after each `F`,
//! gives exactly what the container wrote.
//!
//! Invariant: how the output was cut into reads makes no difference to the lines.

use std::time::{SystemTime, UNIX_EPOCH};

/// Length of what stands before the text: time, stream and tag, each with a space.
pub const PREFIX_BYTES: usize = 40;

/// Which of a container's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];
}

/// Whether the container wrote a line end here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    Full,
    Partial,
}

/// The time as it stands before each line, in UTC.
#[derive(Debug, Clone, Copy)]
pub struct Stamp([u8; 31]);

impl Stamp {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp::at(since.as_secs(), since.subsec_nanos())
    }

    /// The time `seconds` and `nanos` after 1970, up to the year 9999.
    pub fn at(seconds: u64, nanos: u32) -> Self {
        let (year, month, day) = date(seconds / 86_400);
        let time = seconds % 86_400;
        let mut text = *b"0000-00-00T00:00:00.000000000Z ";
        decimal(&mut text[0..4], year);
        decimal(&mut text[5..7], month);
        decimal(&mut text[8..10], day);
        decimal(&mut text[11..13], time / 3600);
        decimal(&mut text[14..16], time / 60 % 60);
        decimal(&mut text[17..19], time % 60);
        decimal(&mut text[20..29], u64::from(nanos));
        Stamp(text)
    }

    /// The time without the space after it.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0[..30]).unwrap_or_default()
    }

    fn prefix(&self, stream: Stream, tag: Tag) -> [u8; PREFIX_BYTES] {
        let mut prefix = [b' '; PREFIX_BYTES];
        prefix[..31].copy_from_slice(&self.0);
        prefix[31..37].copy_from_slice(match stream {
            Stream::Stdout => b"stdout",
            Stream::Stderr => b"stderr",
        });
        prefix[38] = match tag {
            Tag::Full => b'F',
            Tag::Partial => b'P',
        };
        prefix
    }
}

/// Fills `place` with the last digits of `value`.
fn decimal(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01. Years are counted from March here, so that
/// the day that not every year has comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Makes lines of one stream.
#[derive(Debug)]
pub struct Lines {
    stream: Stream,
    line_max: usize,
    /// Text of the present line that is not written yet: never more than `line_max` bytes.
    open: Vec<u8>,
}

impl Lines {
    pub fn new(stream: Stream, line_max: usize) -> Self {
        Lines { stream, line_max: line_max.max(1), open: Vec::new() }
    }

    /// Appends to `out` the lines that `input` completes, until `out` has `enough` bytes. Returns how much of `input`
    /// was taken; the caller writes `out`, empties it, and comes back with the rest.
    pub fn push(&mut self, input: &[u8], stamp: &Stamp, out: &mut Vec<u8>, enough: usize) -> usize {
        let full = stamp.prefix(self.stream, Tag::Full);
        let partial = stamp.prefix(self.stream, Tag::Partial);
        let mut taken = 0;
        while taken < input.len() && out.len() < enough {
            let rest = &input[taken..];
            let room = self.line_max - self.open.len();
            // One byte more than there is room for: a line end there makes this a whole line.
            let window = &rest[..rest.len().min(room + 1)];
            if let Some(end) = memchr::memchr(b'\n', window) {
                out.extend_from_slice(&full);
                self.take_open(out);
                out.extend_from_slice(&rest[..=end]);
                taken += end + 1;
            } else if window.len() > room {
                out.extend_from_slice(&partial);
                self.take_open(out);
                out.extend_from_slice(&rest[..room]);
                out.push(b'\n');
                taken += room;
            } else {
                self.open.extend_from_slice(window);
                taken += window.len();
            }
        }
        taken
    }

    /// The stream has ended: what is left of a line is written as it stands.
    pub fn finish(&mut self, stamp: &Stamp, out: &mut Vec<u8>) {
        if !self.open.is_empty() {
            out.extend_from_slice(&stamp.prefix(self.stream, Tag::Partial));
            self.take_open(out);
            out.push(b'\n');
        }
    }

    /// Moves the open text to `out` and gives its memory back.
    fn take_open(&mut self, out: &mut Vec<u8>) {
        if !self.open.is_empty() {
            out.extend_from_slice(&std::mem::take(&mut self.open));
        }
    }
}

/// Appends a line of the shim's own.
pub fn whole_line(stamp: &Stamp, stream: Stream, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&stamp.prefix(stream, Tag::Full));
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// How many bytes of the container's output stand in `lines` from `from` on: what is lost when only so much of a
/// buffer that begins with a whole line could be written.
pub fn output_bytes_from(lines: &[u8], from: usize) -> u64 {
    let mut start = 0;
    let mut bytes = 0;
    while start < lines.len() {
        let length = memchr::memchr(b'\n', &lines[start..]).map_or(lines.len() - start, |end| end + 1);
        let line = &lines[start..start + length];
        // The line end is the container's own only where it is tagged as a full line.
        let text_end = start + length - usize::from(line.get(38) != Some(&b'F'));
        let text_start = start + PREFIX_BYTES;
        bytes += text_end.saturating_sub(text_start.max(from)) as u64;
        start += length;
    }
    bytes
}

#[cfg(test)]
mod tests;
