//! The CRI log file of a container: read where the daemon says that it is, while it grows and is rotated, and printed as
//! exactly the bytes that the container wrote.
//!
//! A line of it is `TIME STREAM TAGS TEXT`; the tag `P` says that the container wrote no line end after the text.

#[cfg(any(test, fuzzing))]
pub mod fuzz;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Stderr, Stdout, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::error::Error;

/// A longer line is no line of a log; it is shown in parts.
const LINE_MAX_BYTES: u64 = 1024 * 1024;

/// How much is read at once where the last lines are looked for.
const BLOCK_BYTES: u64 = 64 * 1024;

/// A log file.
pub struct Log {
    path: PathBuf,
    file: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    line: Vec<u8>,
}

impl Log {
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        Ok(Log { file: BufReader::new(File::open(&path)?), path, line: Vec::new() })
    }

    /// Goes to the last `count` lines.
    pub fn seek_to_last(&mut self, count: usize) -> Result<(), Error> {
        let start = start_of_last(self.file.get_mut(), count);
        start
            .and_then(|start| self.file.seek(SeekFrom::Start(start)))
            .map(drop)
            .map_err(|error| self.cannot_read(&error))
    }

    /// Prints the whole lines from here to the present end; tells whether there were any.
    pub fn print_rest<Out: Write, Err: Write>(&mut self, printer: &mut Printer<Out, Err>) -> Result<bool, Error> {
        let mut printed = self.print_lines(printer)?;
        if self.was_rotated() {
            // What was written to the old file until just now.
            self.print_lines(printer)?;
            self.line.clear();
            self.file = BufReader::new(File::open(&self.path).map_err(|error| self.cannot_read(&error))?);
            printed |= self.print_lines(printer)?;
        }
        printer.flush().map_err(Error::Output)?;
        Ok(printed)
    }

    fn print_lines<Out: Write, Err: Write>(&mut self, printer: &mut Printer<Out, Err>) -> Result<bool, Error> {
        let mut printed = false;
        loop {
            let room = LINE_MAX_BYTES.saturating_sub(self.line.len() as u64);
            let read = (&mut self.file).take(room).read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| self.cannot_read(&error))?;
            if self.line.ends_with(b"\n") || room == 0 {
                printer.print(&self.line).map_err(Error::Output)?;
                self.line.clear();
                printed = true;
            } else if read == 0 {
                return Ok(printed);
            }
        }
    }

    fn cannot_read(&self, error: &io::Error) -> Error {
        Error::Local(format!("cannot read the log {}: {error}", self.path.display()))
    }

    /// Whether another file has taken this one's place.
    fn was_rotated(&self) -> bool {
        let (Ok(here), Ok(there)) = (self.file.get_ref().metadata(), std::fs::metadata(&self.path)) else {
            return false;
        };
        here.ino() != there.ino() || here.dev() != there.dev()
    }
}

/// Where the last `count` lines begin. A line without its end counts, as its end will come.
fn start_of_last(file: &mut File, count: usize) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    let (mut at, mut left) = (end, count);
    let mut block = Vec::new();
    while at > 0 && left > 0 {
        let begin = at.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        block.clear();
        file.take(at - begin).read_to_end(&mut block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let after = begin + index as u64 + 1;
            // The last byte of all ends the last line and begins none.
            if *byte == b'\n' && after < end {
                left -= 1;
                if left == 0 {
                    return Ok(after);
                }
            }
        }
        at = begin;
    }
    Ok(if count == 0 { end } else { 0 })
}

/// Prints the lines of a log to the streams that they came from.
pub struct Printer<Out: Write = Stdout, Err: Write = Stderr> {
    out: BufWriter<Out>,
    err: BufWriter<Err>,
    with_times: bool,
    last: Stream,
    /// The last text had no line end after it.
    amid_line: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

impl Printer {
    pub fn new(with_times: bool) -> Self {
        Printer::to(io::stdout(), io::stderr(), with_times)
    }
}

impl<Out: Write, Err: Write> Printer<Out, Err> {
    fn to(out: Out, err: Err, with_times: bool) -> Self {
        let (out, err) = (BufWriter::new(out), BufWriter::new(err));
        Printer { out, err, with_times, last: Stream::Out, amid_line: false }
    }

    fn print(&mut self, line: &[u8]) -> io::Result<()> {
        // What is no entry is better shown than lost.
        let Some(entry) = Entry::parse(line) else { return self.out.write_all(line) };
        if entry.stream != self.last {
            // On a terminal both come out in the order in which they were written.
            self.flush()?;
        }
        let with_time = self.with_times && !(self.amid_line && entry.stream == self.last);
        (self.last, self.amid_line) = (entry.stream, entry.partial);
        let to: &mut dyn Write = if entry.stream == Stream::Out { &mut self.out } else { &mut self.err };
        if with_time {
            to.write_all(entry.time)?;
            to.write_all(b" ")?;
        }
        to.write_all(entry.text)?;
        if entry.partial { Ok(()) } else { to.write_all(b"\n") }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }
}

/// One line of a log.
struct Entry<'a> {
    time: &'a [u8],
    stream: Stream,
    partial: bool,
    text: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags, text) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let stream = match stream {
            b"stdout" => Stream::Out,
            b"stderr" => Stream::Err,
            _ => return None,
        };
        Some(Entry { time, stream, partial: tags.starts_with(b"P"), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that is read as it grows, and what was printed so far.
    struct World {
        folder: tempfile::TempDir,
        log: Log,
        printer: Printer<Vec<u8>, Vec<u8>>,
    }

    impl World {
        fn new(content: &str, with_times: bool) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("0.log");
            std::fs::write(&path, content).unwrap();
            World { folder, log: Log::open(path).unwrap(), printer: Printer::to(Vec::new(), Vec::new(), with_times) }
        }

        fn append(&self, content: &str) {
            let path = self.folder.path().join("0.log");
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .unwrap()
                .write_all(content.as_bytes())
                .unwrap();
        }

        fn rotate(&self) {
            let path = |name| self.folder.path().join(name);
            std::fs::rename(path("0.log"), path("0.log.1")).unwrap();
        }

        /// What of the rest comes out on stdout and on stderr.
        fn rest(&mut self) -> (String, String) {
            self.log.print_rest(&mut self.printer).unwrap();
            let text = |bytes: &mut Vec<u8>| String::from_utf8(std::mem::take(bytes)).unwrap();
            (text(self.printer.out.get_mut()), text(self.printer.err.get_mut()))
        }
    }

    #[test]
    fn the_bytes_are_the_containers() {
        let mut world = World::new("t stdout P a  \nt stderr F e\nt stdout F b\nt stdout F \nt stdout P c", false);
        assert_eq!(world.rest(), ("a  b\n\n".into(), "e\n".into()));
        world.append("d\n");
        assert_eq!(world.rest(), ("cd".into(), String::new()));
    }

    #[test]
    fn a_time_stands_before_each_line_and_not_within_one() {
        let mut world = World::new("1 stdout P a\n2 stdout F b\n3 stdout P c\n4 stderr F e\n", true);
        assert_eq!(world.rest(), ("1 ab\n3 c".into(), "4 e\n".into()));
    }

    #[test]
    fn what_is_no_entry_is_shown_as_it_is() {
        let mut world = World::new("garbage\nt stdall F x\nt stdout F y\n", false);
        assert_eq!(world.rest().0, "garbage\nt stdall F x\ny\n");
    }

    #[test]
    fn a_rotated_log_is_followed_into_the_new_file() {
        let mut world = World::new("t stdout F one\n", false);
        assert_eq!(world.rest().0, "one\n");
        world.append("t stdout F two\n");
        world.rotate();
        assert_eq!(world.rest().0, "two\n");
        world.append("t stdout F three\n");
        assert_eq!(world.rest().0, "three\n");
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let long = "x".repeat(usize::try_from(BLOCK_BYTES).unwrap());
        let content = format!("t stdout F a\nt stdout F {long}\nt stdout F b\nt stdout F c\n");
        for (count, expected) in [(0, ""), (1, "c\n"), (2, "b\nc\n")] {
            let mut world = World::new(&content, false);
            world.log.seek_to_last(count).unwrap();
            assert_eq!(world.rest().0, expected, "{count}");
        }
        for (count, lines) in [(3, 3), (4, 4), (5, 4), (usize::MAX, 4)] {
            let mut world = World::new(&content, false);
            world.log.seek_to_last(count).unwrap();
            assert_eq!(world.rest().0.lines().count(), lines, "{count}");
        }
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let size = usize::try_from(LINE_MAX_BYTES).unwrap() + 10;
        let mut world = World::new(&"x".repeat(size), false);
        assert_eq!(world.rest().0.len(), size - 10);
        world.append("\n");
        assert_eq!(world.rest().0, format!("{}\n", "x".repeat(10)));
    }
}
