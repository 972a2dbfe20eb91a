//! Bytes in a sealed memory file, for what is too large for one message: the receiver can map or read it without fear
//! that the sender changes or shortens it meanwhile (`memfd_create(2)`, `F_ADD_SEALS`).

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

/// What is sealed: size and contents.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// Why a descriptor is not a sealed memory file that can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadSealedError {
    #[error("the descriptor is not a sealed memory file")]
    NotSealed,
    #[error("the memory file has {found} bytes, not the {expected} that were announced")]
    OtherLength { found: u64, expected: u64 },
    #[error("reading a memory file")]
    Io(#[source] io::Error),
}

/// A sealed memory file that holds `bytes`; `name` is shown in `/proc/PID/fd`.
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file)
}

/// Reads a whole sealed memory file of `length` bytes. The caller bounds `length`.
pub fn read_sealed(file: impl AsFd, length: u64) -> Result<Vec<u8>, ReadSealedError> {
    // Only memory files know seals, so this also refuses pipes, sockets and files of slow file systems.
    let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| ReadSealedError::NotSealed)?;
    if !seals.contains(SealFlags::SHRINK | SealFlags::WRITE) {
        return Err(ReadSealedError::NotSealed);
    }
    let io = |errno: rustix::io::Errno| ReadSealedError::Io(errno.into());
    let found = u64::try_from(rustix::fs::fstat(&file).map_err(io)?.st_size).unwrap_or(0);
    let expected = length;
    if found != expected {
        return Err(ReadSealedError::OtherLength { found, expected });
    }
    // Sender and receiver share the file's offset, which the sender left at the end.
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).map_err(io)?;
    let file = std::fs::File::from(file.as_fd().try_clone_to_owned().map_err(ReadSealedError::Io)?);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(length).read_to_end(&mut bytes).map_err(ReadSealedError::Io)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_are_read_back_and_cannot_be_changed() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let file = sealed("test", &bytes).unwrap();
        assert_eq!(read_sealed(&file, bytes.len() as u64).unwrap(), bytes);
        assert_eq!(rustix::io::write(&file, b"x").unwrap_err(), rustix::io::Errno::PERM);
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        assert!(matches!(read_sealed(&file, 4), Err(ReadSealedError::OtherLength { .. })));
    }

    #[test]
    fn what_is_not_sealed_is_refused() {
        let (pipe, _writer) = rustix::pipe::pipe().unwrap();
        assert!(matches!(read_sealed(&pipe, 1), Err(ReadSealedError::NotSealed)));
        let open = rustix::fs::memfd_create("open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(matches!(read_sealed(&open, 0), Err(ReadSealedError::NotSealed)));
    }
}
