//! The streams of a process, as a person at a terminal has them: what is typed goes there, what it prints comes here, and
//! how it ended is known in the end.

mod detach;
mod input;
pub mod link;
mod status;
mod terminal;

use std::io::{self, Write};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::interrupts::Interrupts;
use detach::Matcher;
use link::{Link, Said};
use terminal::RawMode;

pub use detach::DetachKeys;
pub use status::Ended;
pub use terminal::is_terminal;

/// What a goodbye to the daemon may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// The numbers of channels.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const SIZE: u8 = 4;

/// What is connected.
pub struct Connected {
    pub stdin: bool,
    pub terminal: bool,
    /// Typed at a terminal, they end the connection and nothing else: the process goes on.
    pub detach_keys: DetachKeys,
}

/// Connects this program's streams with those behind a URL until the process has ended, or the user leaves.
pub async fn connect(url: &str, connected: &Connected) -> Result<Ended, Error> {
    let link = Link::open(url).await?;
    let at_terminal = connected.stdin && connected.terminal && is_terminal();
    let mut interrupts = if at_terminal { Interrupts::listen_at_terminal() } else { Interrupts::listen() }?;
    // Put back when it is dropped, however this ends.
    let raw = at_terminal.then(RawMode::enter).transpose()?;
    let input = connected.stdin.then(input::read);
    let keys = raw.is_some().then(|| Matcher::new(&connected.detach_keys));
    let ended = tokio::select! {
        ended = receive(&link) => ended,
        ended = send(&link, input, keys, connected.terminal) => ended,
        signal = interrupts.next() => Err(Error::Interrupted { signal }),
    };
    drop(raw);
    let goodbye = async {
        if matches!(ended, Ok(Ended::Left)) {
            link.detach().await?;
        } else {
            link.close().await;
        }
        ended
    };
    let said = tokio::time::timeout(GOODBYE, goodbye).await;
    said.unwrap_or_else(|_| Err(Error::Lost { why: "it does not take a goodbye".into() }))
}

/// Prints what comes, and tells how the process ended.
async fn receive(link: &Link) -> Result<Ended, Error> {
    let mut status = Vec::new();
    while let Some(said) = link.next().await? {
        match said {
            Said::Bytes { channel: STDOUT, bytes } => print(&mut io::stdout().lock(), &bytes)?,
            Said::Bytes { channel: STDERR, bytes } => print(&mut io::stderr().lock(), &bytes)?,
            Said::Bytes { channel: STATUS, bytes } => status.extend_from_slice(&bytes),
            Said::Bytes { .. } | Said::End { .. } => {}
        }
    }
    Ended::read(&status)
}

fn print(to: &mut dyn Write, bytes: &[u8]) -> Result<(), Error> {
    to.write_all(bytes).and_then(|()| to.flush()).map_err(Error::Output)
}

/// Sends what is typed and the terminal's size; ends only when the user leaves.
async fn send(
    link: &Link,
    mut input: Option<mpsc::Receiver<Vec<u8>>>,
    mut keys: Option<Matcher>,
    terminal: bool,
) -> Result<Ended, Error> {
    let changes = signal(SignalKind::window_change());
    let mut changes = changes.map_err(|error| Error::Local(format!("cannot listen for signals: {error}")))?;
    if terminal {
        send_size(link).await?;
    }
    loop {
        let typed = async {
            match &mut input {
                Some(input) => input.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            typed = typed => match typed {
                Some(bytes) => {
                    let (bytes, leaves) = match &mut keys {
                        Some(keys) => keys.pass(bytes),
                        None => (bytes, false),
                    };
                    link.send(STDIN, &bytes).await?;
                    if leaves {
                        return Ok(Ended::Left);
                    }
                }
                None => {
                    link.end(STDIN).await?;
                    input = None;
                }
            },
            _ = changes.recv(), if terminal => send_size(link).await?,
        }
    }
}

async fn send_size(link: &Link) -> Result<(), Error> {
    let Some((columns, rows)) = terminal::size() else { return Ok(()) };
    link.send(SIZE, format!("{{\"Width\":{columns},\"Height\":{rows}}}").as_bytes()).await
}
