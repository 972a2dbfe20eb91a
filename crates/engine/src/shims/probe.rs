//! Asking the shim's program whether pods can have user namespaces: to try it needs a process with one thread.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cradle_shim::startup::ABLE;
use cradle_sys::spawn::{Program, spawn};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::Launcher;
use crate::limits;

const STDOUT: i32 = 1;

impl Launcher {
    /// Whether pods whose images are in `store` can have user namespaces of their own; why not, otherwise.
    pub async fn probe_user_namespaces(&self, store: &Path) -> Result<(), String> {
        match self.ask(store).await {
            Ok(said) if said.trim_end() == ABLE => Ok(()),
            Ok(said) if said.is_empty() => Err("the program that tries it ended without a word".into()),
            Ok(said) => Err(said.trim_end().to_owned()),
            Err(error) => Err(format!("trying it: {error}")),
        }
    }

    async fn ask(&self, store: &Path) -> io::Result<String> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        let word = |text: &[u8]| CString::new(text).map_err(io::Error::from);
        let arguments = [word(b"cradle-shim")?, word(b"--probe")?, word(store.as_os_str().as_bytes())?];
        let pid = spawn(&Program {
            path: &self.program,
            arguments: &arguments,
            environment: &[],
            descriptors: &[(writer.as_fd(), STDOUT)],
        })?;
        drop(writer);
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
        let mut said = String::new();
        let mut reader = pipe::Receiver::from_owned_fd(reader)?.take(limits::PROBE_ANSWER_MAX_BYTES);
        let read = tokio::time::timeout(limits::PROBE, reader.read_to_string(&mut said)).await;
        // It has said all that it has to say. It is our child and not reaped: its id cannot be another's.
        kill_process(pid, Signal::KILL)?;
        tokio::task::spawn_blocking(move || waitpid(Some(pid), WaitOptions::empty()));
        read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(said)
    }
}
