//! The process whose streams a client gets: a command, or what a container was started with.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cradle_domain::{Class, Failure};
use cradle_engine::{AttachEnds, AttachStreams, Attachment, Exec, ExecEnds, ExecStreams};
use tracing::debug;

use super::Command;
use super::resize::Sizes;
use super::streams::Streams;
use crate::descriptor::Descriptor;
use crate::request::Wanted;
use crate::server::Shared;

/// Size of a terminal until the client tells its own.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

pub(super) struct Process {
    pub input: Input,
    pub output: Output,
    pub end: End,
}

/// What goes to it.
pub(super) struct Input {
    /// None: closed, or never there.
    stdin: Option<Arc<Descriptor>>,
    terminal: Terminal,
    sizes: Sizes,
}

/// What comes from it.
pub(super) struct Output {
    pub stdout: Option<Arc<Descriptor>>,
    pub stderr: Option<Arc<Descriptor>>,
}

/// What tells its end.
pub(super) enum End {
    Exec(Exec),
    Attachment(Arc<Attachment>),
}

/// Who sets the terminal's size.
enum Terminal {
    None,
    Here(Arc<Descriptor>),
    Shim(Arc<Attachment>),
}

impl Process {
    pub async fn begin(
        shared: &Shared,
        command: &Command,
        container: &str,
        wanted: Wanted,
    ) -> Result<Process, Failure> {
        match command {
            Command::Exec(command) => exec(shared, command, container, wanted).await,
            Command::Attach => attach(shared, container, wanted).await,
        }
    }
}

async fn exec(shared: &Shared, command: &[String], container: &str, wanted: Wanted) -> Result<Process, Failure> {
    let Wanted { stdin, stdout, stderr, terminal } = wanted;
    let streams = match terminal {
        true => ExecStreams::Terminal { columns: COLUMNS, rows: ROWS },
        false => ExecStreams::Pipes { stdin, stdout, stderr },
    };
    let (exec, ends) = shared.engine.exec(container, command, streams).await?;
    let (stdin, terminal, output) = match ends {
        ExecEnds::Pipes { stdin, stdout, stderr } => {
            let output = Output { stdout: watched(stdout)?, stderr: watched(stderr)? };
            (watched(stdin)?, Terminal::None, output)
        }
        ExecEnds::Terminal(master) => {
            let master = watch(Descriptor::terminal(master))?;
            let output = Output { stdout: stdout.then(|| master.clone()), stderr: None };
            (stdin.then(|| master.clone()), Terminal::Here(master), output)
        }
    };
    Ok(Process { input: Input { stdin, terminal, sizes: Sizes::default() }, output, end: End::Exec(exec) })
}

async fn attach(shared: &Shared, container: &str, wanted: Wanted) -> Result<Process, Failure> {
    let Wanted { stdin, stdout, stderr, terminal } = wanted;
    let streams = AttachStreams { stdin, stdout, stderr };
    let (attachment, AttachEnds { stdin, stdout, stderr }) = shared.engine.attach(container, streams).await?;
    let attachment = Arc::new(attachment);
    let terminal = if terminal { Terminal::Shim(attachment.clone()) } else { Terminal::None };
    let input = Input { stdin: watched(stdin)?, terminal, sizes: Sizes::default() };
    let output = Output { stdout: watched(stdout)?, stderr: watched(stderr)? };
    Ok(Process { input, output, end: End::Attachment(attachment) })
}

fn watched(end: Option<OwnedFd>) -> Result<Option<Arc<Descriptor>>, Failure> {
    end.map(|end| watch(Descriptor::stream(end))).transpose()
}

fn watch(watched: io::Result<Descriptor>) -> Result<Arc<Descriptor>, Failure> {
    watched
        .map(Arc::new)
        .map_err(|error| Failure::new(Class::Exhausted, format!("watching a process's stream: {error}")))
}

impl Input {
    /// Takes what the client sends on a stream; none: the stream ends.
    pub async fn take(&mut self, streams: &Streams, stream: u32, bytes: Option<&[u8]>) {
        if streams.stdin == Some(stream) {
            match bytes {
                Some(bytes) => self.write(bytes).await,
                None => self.end(),
            }
        } else if streams.resize == Some(stream)
            && let Some((columns, rows)) = bytes.and_then(|bytes| self.sizes.read(bytes))
        {
            self.resize(columns, rows).await;
        }
    }

    /// Nothing more will come: of a pipe this is the last copy, and the process reads its end. A terminal stays open, as it
    /// has no half that could be closed.
    pub fn end(&mut self) {
        self.stdin = None;
    }

    async fn write(&mut self, bytes: &[u8]) {
        let Some(stdin) = &self.stdin else { return };
        if stdin.write_all(bytes).await.is_err() {
            // The process reads no more. What it writes and how it ends is still wanted.
            self.stdin = None;
        }
    }

    async fn resize(&self, columns: u16, rows: u16) {
        let resized = match &self.terminal {
            Terminal::None => Ok(()),
            Terminal::Here(master) => master.resize(columns, rows).map_err(|error: io::Error| error.to_string()),
            Terminal::Shim(attachment) => attachment.resize(columns, rows).await.map_err(|failure| failure.to_string()),
        };
        if let Err(error) = resized {
            debug!(error, "a terminal's size could not be set");
        }
    }
}
