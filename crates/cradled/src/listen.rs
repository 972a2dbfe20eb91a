//! The CRI's socket: one daemon's at a time, and never open to others, not even for a moment.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use cradle_domain::{Class, Classified};

use crate::limits::SOCKET_PATH_MAX_BYTES;

/// Root, and the group that the operator may give the socket to.
const SOCKET_MODE: u32 = 0o660;

/// A socket that the daemon cannot listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("the socket's path {} is longer than {SOCKET_PATH_MAX_BYTES} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("another daemon answers on {}", path.display())]
    Answered { path: PathBuf },
    #[error("{} is there and is no socket; remove it or choose another place", path.display())]
    NoSocket { path: PathBuf },
    #[error("cannot {what} {}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl Classified for ListenError {
    fn class(&self) -> Class {
        match self {
            ListenError::TooLong { .. } => Class::Invalid,
            ListenError::Answered { .. } | ListenError::NoSocket { .. } => Class::Refused,
            ListenError::Io { .. } => Class::Unavailable,
        }
    }
}

/// Listens on `path`, in place of a socket that a dead daemon left there.
///
/// The socket is bound beside its place, closed to others, and then renamed: who finds it finds it ready.
pub fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| ListenError::Io { what, path, source }
    };
    let beside = {
        let mut name = path.as_os_str().to_owned();
        name.push("~");
        PathBuf::from(name)
    };
    if beside.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
        return Err(ListenError::TooLong { path: path.to_owned() });
    }
    check_place(path)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed("make the folder", parent))?;
    }
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &beside)(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&beside).map_err(failed("listen on", &beside))?;
    std::fs::set_permissions(&beside, Permissions::from_mode(SOCKET_MODE))
        .map_err(failed("close to others", &beside))?;
    std::fs::rename(&beside, path).map_err(failed("put the socket at", path))?;
    listener.set_nonblocking(true).map_err(failed("listen on", path))?;
    Ok(listener)
}

/// Refuses a place that somebody else needs.
fn check_place(path: &Path) -> Result<(), ListenError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ListenError::Io { what: "look at", path: path.to_owned(), source }),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NoSocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(ListenError::Answered { path: path.to_owned() }),
        Err(source) => Err(ListenError::Io { what: "try", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/c.sock");
        let first = listen(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let refused = listen(&path).unwrap_err().to_string();
        assert_eq!(refused, format!("another daemon answers on {}", path.display()));
        drop(first);
        let second = listen(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(second);
        assert_eq!(folder.path().join("run").read_dir().unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(listen(file.path()), Err(ListenError::NoSocket { .. })));
        assert!(file.path().exists());
    }

    #[test]
    fn a_path_that_the_kernel_cannot_bind_is_refused_by_name() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
        assert!(matches!(listen(&path), Err(ListenError::TooLong { .. })));
    }
}
