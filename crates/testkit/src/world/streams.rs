//! Commands and streams of containers in which nothing runs: what a command does is said by its program's name, and what
//! a container prints by the test.
//!
//! ```text
//! cat      copies its stdin to its stdout, to the end
//! print N  writes N blocks of 4 KiB to its stdout
//! exit N   ends with N
//! flood    writes to its stdout until nobody reads it
//! leave    ends at once and leaves a process that holds its stdout open
//! wait     does nothing until it gets a signal
//! ```
//!
//! A terminal is a pair of sockets: it has no size, and is hung up when the master is closed.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use cradle_domain::{Class, ContainerId, Failure, Timestamp};
use cradle_engine::ports::ShimEvent;
use cradle_executor::plan::Step;
use cradle_shim::protocol::{Event, ExecId, ExecIo, Exit, Reply, StartExec};
use tokio::sync::mpsc;

/// Ends with the number of this signal are told so (POSIX shells).
const SIGNALLED: i32 = 128;
const SIGPIPE: i32 = 13;

/// The streams of one shim's containers.
#[derive(Default)]
pub(crate) struct Streams {
    signals: Vec<(ExecId, SyncSender<i32>)>,
    /// All that were sent.
    pub signalled: Vec<i32>,
    attached: Vec<Attached>,
    /// Outputs that are held open by processes whose command has ended.
    held: Vec<File>,
}

/// Somebody who attached to a container.
struct Attached {
    container: ContainerId,
    stdout: File,
    /// Held so that it can be written to.
    _stdin: OwnedFd,
}

impl Streams {
    pub fn start(
        &mut self,
        start: StartExec,
        ends: Vec<OwnedFd>,
        events: Option<mpsc::Sender<ShimEvent>>,
    ) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        let arguments = start.plan.steps.iter().find_map(|step| match step {
            Step::Execute { arguments, .. } => Some(arguments),
            _ => None,
        });
        let words: Vec<String> =
            arguments.into_iter().flatten().map(|word| word.to_string_lossy().into_owned()).collect();
        let mut ends = ends.into_iter();
        let mut end = |there: bool| there.then(|| ends.next()).flatten().map(File::from);
        let (stdin, stdout, master) = match start.io {
            ExecIo::Pipes { stdin, stdout, .. } => (end(stdin), end(stdout), None),
            ExecIo::Terminal { .. } => {
                let (master, theirs) = terminal()?;
                (theirs.try_clone().ok(), Some(theirs), Some(master))
            }
        };
        if words[0] == "leave" {
            self.held.extend(stdout.as_ref().and_then(|stdout| stdout.try_clone().ok()));
        }
        let (sender, signals) = sync_channel(1);
        self.signals.push((start.exec, sender));
        let StartExec { container, exec, .. } = start;
        std::thread::spawn(move || {
            let code = run(&words, stdin, stdout, &signals);
            let exit = Exit { code, at: Timestamp::now(), oom_killed: false, timed_out: false };
            if let Some(events) = events {
                // A daemon that died does not listen.
                let _ = events.try_send(ShimEvent::Told(Event::ExecExited { container, exec, exit }));
            }
        });
        Ok((Reply::Started { pid: 3, at: Timestamp::now() }, master.into_iter().collect()))
    }

    /// All that have begun.
    pub fn commands(&self) -> usize {
        self.signals.len()
    }

    pub fn signal(&mut self, exec: ExecId, signal: i32) {
        self.signalled.push(signal);
        if let Some((_, sender)) = self.signals.iter().find(|(id, _)| *id == exec) {
            // It may have ended.
            let _ = sender.try_send(signal);
        }
    }

    /// Gives a client its stdin and stdout.
    pub fn attach(&mut self, container: ContainerId) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        let pipe = || std::io::pipe().map_err(|error| Failure::new(Class::Exhausted, format!("a pipe: {error}")));
        let ((theirs, stdin), (stdout, ours)) = (pipe()?, pipe()?);
        let stdout_end = File::from(OwnedFd::from(ours));
        self.attached.push(Attached { container, stdout: stdout_end, _stdin: theirs.into() });
        let reply = Reply::Attached { stdin: true, stdout: true, stderr: false, terminal: false };
        Ok((reply, vec![stdin.into(), stdout.into()]))
    }

    /// Gives everybody who is attached to a container what it prints; says how many these are.
    pub fn print(&mut self, container: &ContainerId, text: &[u8]) -> usize {
        self.attached
            .retain_mut(|attached| attached.container != *container || attached.stdout.write_all(text).is_ok());
        self.attached.iter().filter(|attached| attached.container == *container).count()
    }

    /// A container has ended.
    pub fn end(&mut self, container: &ContainerId) {
        self.attached.retain(|attached| attached.container != *container);
    }
}

/// A master, and the terminal.
fn terminal() -> Result<(OwnedFd, File), Failure> {
    let pair = UnixStream::pair();
    let (master, theirs) = pair.map_err(|error| Failure::new(Class::Exhausted, format!("a terminal: {error}")))?;
    Ok((master.into(), File::from(OwnedFd::from(theirs))))
}

/// Connects to a port of this machine.
pub(super) fn dial(port: u16) -> Result<(Reply, Vec<OwnedFd>), Failure> {
    let socket = TcpStream::connect(("127.0.0.1", port));
    let socket = socket.map_err(|error| Failure::new(Class::Unavailable, format!("connecting: {error}")))?;
    Ok((Reply::Done, vec![socket.into()]))
}

/// Does what the words say; gives the exit code.
fn run(words: &[String], stdin: Option<File>, stdout: Option<File>, signals: &Receiver<i32>) -> i32 {
    let written = match (words[0].as_str(), stdin, stdout) {
        ("cat", Some(stdin), Some(stdout)) => copy(stdin, stdout),
        ("flood", _, Some(mut stdout)) => loop {
            if let Err(error) = stdout.write_all(&[b'y'; 4096]) {
                break Err(error);
            }
        },
        ("print", _, Some(mut stdout)) => {
            let blocks = words[1].parse().unwrap_or(0);
            (0..blocks).try_for_each(|_| stdout.write_all(&[b'y'; 4096]))
        }
        ("exit", ..) => return words[1].parse().unwrap_or(1),
        ("leave", ..) => Ok(()),
        // An error says that the world is gone.
        _ => return signals.recv().map_or(0, |signal| SIGNALLED + signal),
    };
    if written.is_ok() { 0 } else { SIGNALLED + SIGPIPE }
}

fn copy(mut from: File, mut to: File) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
    }
}
