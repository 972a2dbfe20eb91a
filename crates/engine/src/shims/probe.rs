//! Asking the shim's program how pods can have user namespaces: to try it needs a process with one thread.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cradle_shim::startup::{COPIED, MAPPED};
use cradle_sys::spawn::{Program, spawn};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::Launcher;
use crate::limits;
use crate::ports::UserNamespaceSupport;

const STDOUT: i32 = 1;

impl Launcher {
    /// Whether and how pods whose images are in `store` can have user namespaces of their own.
    pub async fn probe_user_namespaces(&self, store: &Path) -> UserNamespaceSupport {
        let why = match self.ask(store).await {
            Ok(said) => match said.trim_end() {
                MAPPED => return UserNamespaceSupport::Mapped,
                "" => "the program that tries it ended without a word".into(),
                said => match said.strip_prefix(COPIED) {
                    Some(why) => return UserNamespaceSupport::Copied { why: why.into() },
                    None => said.into(),
                },
            },
            Err(error) => format!("trying it: {error}"),
        };
        UserNamespaceSupport::Impossible { why }
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
