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
}

impl Descriptor {
    #[expect(deprecated, reason = "the replacement is unsafe for types that may close it meanwhile; an OwnedFd does not")]
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(Descriptor { inner: AsyncFd::new(descriptor)? })
    }

    /// Waits until there is something and reads it; none: the end.
    pub async fn read(&self, buffers: &Arc<Buffers>) -> io::Result<Option<Buffer>> {
        loop {
            let mut ready = self.inner.readable().await?;
            match self.read_now(buffers)? {
                Now::Nothing => ready.clear_ready(),
                Now::Bytes(buffer) => return Ok(Some(buffer)),
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

    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // Ready unless a write before has found it full.
            let mut ready = self.inner.writable().await?;
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.inner, bytes)) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
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
        let (reader, writer) = (Descriptor::new(reader).unwrap(), Descriptor::new(writer).unwrap());
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
