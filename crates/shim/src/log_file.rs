//! A container's log file: opened, reopened after a rotation, and written to in a way that never holds the container up.
//!
//! What cannot be written (a full disk) is counted and dropped. When there is room again a line in the log tells how
//! much is missing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::log_line::{Stamp, Stream, output_bytes_from, whole_line};

/// Why a log file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    #[error("the log path {path:?} is not absolute")]
    NotAbsolute { path: PathBuf },
    #[error("making the folder of the log file {path:?}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("opening the log file {path:?}")]
    Open { path: PathBuf, source: io::Error },
}

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: OwnedFd,
    /// The last byte written was a line end, or none was written.
    at_line_start: bool,
    lost: Lost,
}

/// Output that could not be written.
#[derive(Debug, Default)]
struct Lost {
    /// Since the last line in the log that told of it.
    unwritten: u64,
    /// Since the daemon was last told.
    untold: u64,
    error: Option<Errno>,
}

impl LogFile {
    /// Opens the file at `path`, with the folders above it.
    pub fn open(path: &Path) -> Result<Self, OpenLogError> {
        if !path.is_absolute() {
            return Err(OpenLogError::NotAbsolute { path: path.to_owned() });
        }
        let file = match open(path) {
            Err(Errno::NOENT) => {
                let folder = path.parent().unwrap_or(Path::new("/"));
                std::fs::create_dir_all(folder)
                    .map_err(|source| OpenLogError::Folder { path: path.to_owned(), source })?;
                open(path)
            }
            opened => opened,
        };
        let file = file.map_err(|errno| OpenLogError::Open { path: path.to_owned(), source: errno.into() })?;
        Ok(LogFile { path: path.to_owned(), file, at_line_start: true, lost: Lost::default() })
    }

    /// Opens the file anew, after what was there has been renamed. The folder is not made: where it is gone, so is the
    /// pod. On an error the old file stays in use.
    pub fn reopen(&mut self) -> Result<(), OpenLogError> {
        let file =
            open(&self.path).map_err(|errno| OpenLogError::Open { path: self.path.clone(), source: errno.into() })?;
        if rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_size == 0) {
            self.at_line_start = true;
        }
        self.file = file;
        Ok(())
    }

    /// Writes whole lines. What cannot be written is counted.
    pub fn write(&mut self, lines: &[u8], stamp: &Stamp) {
        if self.lost.unwritten > 0 && !self.write_note(stamp) {
            self.lose(lines, 0);
            return;
        }
        let written = self.write_all(lines);
        if written < lines.len() {
            self.lose(lines, written);
        }
    }

    /// Nothing more will be written: a loss is noted now, if there is room.
    pub fn finish(&mut self, stamp: &Stamp) {
        if self.lost.unwritten > 0 {
            let _written = self.write_note(stamp);
        }
    }

    /// The output that was lost since this was last asked, and why.
    pub fn take_lost(&mut self) -> Option<(u64, String)> {
        let bytes = std::mem::take(&mut self.lost.untold);
        let error = self.lost.error?;
        (bytes > 0).then(|| (bytes, io::Error::from(error).to_string()))
    }

    /// Whether [`LogFile::take_lost`] would tell anything.
    pub fn has_lost(&self) -> bool {
        self.lost.untold > 0
    }

    fn lose(&mut self, lines: &[u8], from: usize) {
        let bytes = output_bytes_from(lines, from);
        self.lost.unwritten = self.lost.unwritten.saturating_add(bytes);
        self.lost.untold = self.lost.untold.saturating_add(bytes);
    }

    /// Writes the line that tells of what is missing; false: there is still no room.
    fn write_note(&mut self, stamp: &Stamp) -> bool {
        let why = self.lost.error.map_or_else(String::new, |errno| format!(": {}", io::Error::from(errno)));
        let text = format!("[cradle: {} bytes of output are missing here{why}]", self.lost.unwritten);
        let mut note = if self.at_line_start { Vec::new() } else { vec![b'\n'] };
        whole_line(stamp, Stream::Stderr, &text, &mut note);
        let written = self.write_all(&note) == note.len();
        if written {
            self.lost.unwritten = 0;
        }
        written
    }

    /// Writes as much as there is room for; returns how much that was.
    fn write_all(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.file, &bytes[written..])) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(errno) => {
                    self.lost.error = Some(errno);
                    break;
                }
            }
        }
        if written > 0 {
            self.at_line_start = bytes[written - 1] == b'\n';
        }
        written
    }
}

/// The folder of a pod's logs may be within reach of the pod, so a link in the file's place is not followed, and a FIFO
/// there does not block.
fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::from_raw_mode(0o640)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp::at(0, 0)
    }

    fn line(text: &str) -> Vec<u8> {
        let mut line = Vec::new();
        whole_line(&stamp(), Stream::Stdout, text, &mut line);
        line
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn folders_are_made_at_first_and_not_when_it_is_reopened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pod/container/0.log");
        let mut log = LogFile::open(&path).unwrap();
        log.write(&line("one"), &stamp());
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        log.write(&line("two"), &stamp());
        log.reopen().unwrap();
        log.write(&line("three"), &stamp());
        assert_eq!(read(&path), String::from_utf8(line("three")).unwrap());
        assert_eq!(read(&folder.path().join("old")).lines().count(), 2);

        std::fs::remove_dir_all(folder.path().join("pod")).unwrap();
        assert!(matches!(log.reopen(), Err(OpenLogError::Open { .. })));
        assert!(!path.exists());
        log.write(&line("into the removed file"), &stamp());
        assert!(!log.has_lost());
    }

    #[test]
    fn links_and_relative_paths_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("target"), &link).unwrap();
        assert!(matches!(LogFile::open(&link), Err(OpenLogError::Open { .. })));
        assert!(!folder.path().join("target").exists());
        assert!(matches!(LogFile::open(Path::new("x.log")), Err(OpenLogError::NotAbsolute { .. })));
    }

    #[test]
    fn output_is_counted_when_the_disk_is_full_and_its_loss_is_noted_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let full = rustix::fs::open("/dev/full", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let path = folder.path().join("log");
        let mut log = LogFile::open(&path).unwrap();
        let room = std::mem::replace(&mut log.file, full);
        log.write(&line("12345"), &stamp());
        log.write(&line("12345"), &stamp());
        let (bytes, error) = log.take_lost().unwrap();
        assert_eq!(bytes, 12);
        assert!(error.contains("No space"), "{error}");
        assert_eq!(log.take_lost(), None);

        log.file = room;
        log.at_line_start = false;
        log.write(&line("again"), &stamp());
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "", "what was cut off is ended");
        assert!(lines[1].contains("stderr F [cradle: 12 bytes of output are missing here: No space"), "{text}");
        assert!(lines[2].ends_with("stdout F again"));
        log.write(&line("more"), &stamp());
        assert_eq!(read(&path).matches("missing").count(), 1);
    }
}
