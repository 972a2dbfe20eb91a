//! Pipes, terminals and sockets of processes, without blocking.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;

use crate::buffers::{Buffer, Buffers};

/// One of them.
pub(crate) struct Descriptor {
    inner: AsyncFd<OwnedFd>,
    /// A read that gives less than it could says that nothing is left (epoll(7)). A terminal gives what it likes.
    is_stream: bool,
}

impl Descriptor {
    /// A pipe or a socket.
    pub fn stream(descriptor: OwnedFd) -> io::Result<Self> {
        Self::new(descriptor, true)
    }

    /// A terminal's master.
    pub fn terminal(descriptor: OwnedFd) -> io::Result<Self> {
        Self::new(descriptor, false)
    }

    #[expect(
        deprecated,
        reason = "the replacement is unsafe for types that may close it meanwhile; an OwnedFd does not"
    )]
    fn new(descriptor: OwnedFd, is_stream: bool) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(Descriptor { inner: AsyncFd::new(descriptor)?, is_stream })
    }

    /// Waits until there is something and reads it; none: the end.
    pub async fn read(&self, buffers: &Arc<Buffers>) -> io::Result<Option<Buffer>> {
        loop {
            let mut ready = self.inner.readable().await?;
            match self.read_now(buffers)? {
                Now::Nothing => ready.clear_ready(),
                Now::Bytes(mut buffer) => {
                    if self.is_stream && !buffer.space().is_empty() {
                        ready.clear_ready();
                    }
                    return Ok(Some(buffer));
                }
                Now::End => return Ok(None),
            }
        }
    }

    /// Reads what is there.
    pub fn read_now(&self, buffers: &Arc<Buffers>) -> io::Result<Now> {
        let mut buffer = buffers.take();
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.inner, buffer.space())) {
            // A terminal's master says EIO when nobody has the terminal open any more.
            Ok(0) | Err(Errno::IO) => Ok(Now::End),
            Ok(count) => {
                buffer.fill(count);
                Ok(Now::Bytes(buffer))
            }
            Err(Errno::AGAIN) => Ok(Now::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Writes as much as is taken at once.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.inner, bytes)) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // Ready unless a write before has found it full.
            let mut ready = self.inner.writable().await?;
            match self.write_now(bytes)? {
                0 => ready.clear_ready(),
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }

    /// Tells the other end of a socket that nothing more will come.
    pub fn finish(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.inner, Shutdown::Write)?)
    }

    /// Sets the size of a terminal.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.inner, size)?)
    }
}

/// What there is to read at the moment.
pub(crate) enum Now {
    Nothing,
    Bytes(Buffer),
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipe_is_read_to_its_end_and_written_although_it_is_full() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let (reader, writer) = (Descriptor::stream(reader).unwrap(), Descriptor::stream(writer).unwrap());
        let buffers = Arc::new(Buffers::default());
        let sent = vec![7; 300_000];
        let write = async {
            writer.write_all(&sent).await.unwrap();
            drop(writer);
        };
        let read = async {
            let mut count = 0;
            while let Some(buffer) = reader.read(&buffers).await.unwrap() {
                count += buffer.bytes().len();
            }
            count
        };
        let ((), count) = tokio::join!(write, read);
        assert_eq!(count, 300_000);
    }
}
