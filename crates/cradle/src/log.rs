//! `cradle logs`: the CRI log file of a container, read where the daemon says it is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cradle_cri_api::v1;
use v1::ContainerState;

use crate::arguments::Logs;
use crate::client::{Client, Error};

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub async fn logs(client: &mut Client, logs: &Logs) -> Result<ExitCode, Error> {
    let container = client.container(&logs.container).await?;
    let path = log_path(client, &container.id).await?;
    let mut log = Log::open(&path).map_err(|error| no_log(&path, &error))?;
    let lines = log.rest().map_err(|error| no_log(&path, &error))?;
    let first = logs.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
    lines[first..].iter().try_for_each(|line| print(line, logs.timestamps)).map_err(no_output)?;
    if logs.follow {
        follow(client, &container.id, &mut log, logs.timestamps).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a container's log is.
pub async fn log_path(client: &mut Client, container: &str) -> Result<String, Error> {
    let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
    let status = client.runtime.container_status(request).await?.into_inner().status.unwrap_or_default();
    if status.log_path.is_empty() {
        return Err(Error::Local(format!("container {container} has no log")));
    }
    Ok(status.log_path)
}

/// Prints what comes, until the container has ended and all is printed.
pub async fn follow(client: &mut Client, container: &str, log: &mut Log, timestamps: bool) -> Result<(), Error> {
    loop {
        let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
        let status = client.runtime.container_status(request).await?.into_inner().status.unwrap_or_default();
        // Looked at before the log is read: what was printed before its end is then in the log.
        let ended = status.state() == ContainerState::ContainerExited;
        let lines = log.rest().map_err(|error| no_log(&status.log_path, &error))?;
        lines.iter().try_for_each(|line| print(line, timestamps)).map_err(no_output)?;
        if ended {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn no_log(path: &str, error: &io::Error) -> Error {
    Error::Local(format!("reading the log {path}: {error}"))
}

fn no_output(error: io::Error) -> Error {
    Error::Local(format!("printing: {error}"))
}

/// A log file that grows and may be rotated.
pub struct Log {
    path: std::path::PathBuf,
    file: BufReader<File>,
    partial: Vec<u8>,
}

impl Log {
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Ok(Log { path: path.into(), file: BufReader::new(File::open(path)?), partial: Vec::new() })
    }

    /// The whole lines from here to the present end.
    fn rest(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = self.read_lines()?;
        if self.was_rotated() {
            self.file = BufReader::new(File::open(&self.path)?);
            lines.extend(self.read_lines()?);
        }
        Ok(lines)
    }

    fn read_lines(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = Vec::new();
        while self.file.read_until(b'\n', &mut self.partial)? > 0 {
            if self.partial.ends_with(b"\n") {
                lines.push(std::mem::take(&mut self.partial));
            }
        }
        Ok(lines)
    }

    /// Whether another file has taken this one's place.
    fn was_rotated(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let (Ok(here), Ok(there)) = (self.file.get_ref().metadata(), std::fs::metadata(&self.path)) else { return false };
        here.ino() != there.ino() || here.dev() != there.dev()
    }
}

/// Prints one line of the log to the stream that it came from: `TIME STREAM TAGS TEXT`.
fn print(line: &[u8], timestamps: bool) -> io::Result<()> {
    let Some(entry) = Entry::parse(line) else { return io::stdout().write_all(line) };
    let text = |to: &mut dyn Write| {
        if timestamps {
            to.write_all(entry.time)?;
            to.write_all(b" ")?;
        }
        to.write_all(entry.text)?;
        if entry.partial { to.flush() } else { to.write_all(b"\n") }
    };
    if entry.stdout { text(&mut io::stdout().lock()) } else { text(&mut io::stderr().lock()) }
}

struct Entry<'a> {
    time: &'a [u8],
    stdout: bool,
    partial: bool,
    text: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags) = (fields.next()?, fields.next()?, fields.next()?);
        let text = fields.next().unwrap_or_default();
        Some(Entry { time, stdout: stream == b"stdout", partial: tags.starts_with(b"P"), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_into_its_fields() {
        let entry = Entry::parse(b"2026-01-01T00:00:00Z stderr P hello  world\n").unwrap();
        assert!(!entry.stdout && entry.partial);
        assert_eq!(entry.text, b"hello  world");
        assert_eq!(Entry::parse(b"t stdout F \n").unwrap().text, b"");
        assert!(Entry::parse(b"garbage").is_none());
    }

    #[test]
    fn a_rotated_log_is_followed() {
        let folder = std::env::temp_dir().join(format!("cradle-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("0.log");
        std::fs::write(&path, "one\ntw").unwrap();
        let mut log = Log::open(&path).unwrap();
        assert_eq!(log.rest().unwrap(), [b"one\n".to_vec()]);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"o\n").unwrap();
        assert_eq!(log.rest().unwrap(), [b"two\n".to_vec()]);
        std::fs::rename(&path, folder.join("0.log.1")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(log.rest().unwrap(), [b"three\n".to_vec()]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
