//! Both sides of the stdio of a container or an exec.

use std::os::fd::OwnedFd;

use cradle_domain::Class;
use cradle_executor::run::Stdio;
use cradle_sys::writes::WriteSignals;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::container::Stdin;
use crate::limits::{TERMINAL_COLUMNS, TERMINAL_ROWS};
use crate::protocol::{ContainerIo, ExecIo, Refusal};

/// The shim's ends of a container's stdio.
#[derive(Debug)]
pub struct Ends {
    pub stdin: Stdin,
    /// The reading ends of stdout and stderr, which do not block and whose writes are told; none: there is a
    /// terminal.
    pub output: Option<(OwnedFd, OwnedFd)>,
}

/// Makes what a container wants; the second part is the shim's. Writes to its output are told by `writes`.
pub fn of_container(io: &ContainerIo, writes: &WriteSignals) -> Result<(Stdio, Ends), Errno> {
    if io.terminal {
        let stdin = if io.stdin { Stdin::Terminal } else { Stdin::None };
        let terminal = Stdio::Terminal { columns: TERMINAL_COLUMNS, rows: TERMINAL_ROWS };
        return Ok((terminal, Ends { stdin, output: None }));
    }
    let (stdin, our_stdin) = match (io.stdin, io.stdin_once) {
        (false, _) => (null()?, Stdin::None),
        (true, once) => {
            let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            (reader, if once { Stdin::Once(writer) } else { Stdin::Shared(writer) })
        }
    };
    let (our_stdout, stdout) = output_pipe(writes)?;
    let (our_stderr, stderr) = output_pipe(writes)?;
    let ends = Ends { stdin: our_stdin, output: Some((our_stdout, our_stderr)) };
    Ok((Stdio::Pipes { stdin, stdout, stderr }, ends))
}

/// What an exec gets: the daemon's descriptors, which came with the request, in their order.
pub fn of_exec(io: ExecIo, descriptors: Vec<OwnedFd>) -> Result<Stdio, Refusal> {
    let (flags, terminal) = match io {
        ExecIo::Pipes { stdin, stdout, stderr } => ([stdin, stdout, stderr], None),
        ExecIo::Terminal { columns, rows } => ([false; 3], Some(Stdio::Terminal { columns, rows })),
    };
    let (announced, sent) = (flags.iter().filter(|flag| **flag).count(), descriptors.len());
    if announced != sent {
        let text = format!("the request announces {announced} descriptors and carries {sent}");
        return Err(Refusal::new(Class::Invalid, text));
    }
    if let Some(terminal) = terminal {
        return Ok(terminal);
    }
    let mut descriptors = descriptors.into_iter();
    let mut end = |flag: bool| match flag.then(|| descriptors.next()).flatten() {
        Some(end) => Ok(end),
        None => null().map_err(|errno| Refusal::from_errno("opening /dev/null", errno)),
    };
    Ok(Stdio::Pipes { stdin: end(flags[0])?, stdout: end(flags[1])?, stderr: end(flags[2])? })
}

/// A pipe whose reading end does not block; the writing end does, as programs expect.
fn output_pipe(writes: &WriteSignals) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    writes.watch(&reader)?;
    Ok((reader, writer))
}

/// What reads as empty and swallows what is written.
fn null() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_gets_the_descriptors_that_were_announced_and_no_others() {
        let end = || null().unwrap();
        let pipes = ExecIo::Pipes { stdin: false, stdout: true, stderr: true };
        assert!(matches!(of_exec(pipes, vec![end(), end()]), Ok(Stdio::Pipes { .. })));
        let terminal = ExecIo::Terminal { columns: 1, rows: 1 };
        assert!(matches!(of_exec(terminal, Vec::new()), Ok(Stdio::Terminal { columns: 1, rows: 1 })));
        for (io, descriptors) in [(pipes, vec![end()]), (pipes, vec![end(), end(), end()]), (terminal, vec![end()])] {
            assert_eq!(of_exec(io, descriptors).unwrap_err().class, Class::Invalid);
        }
    }
}
