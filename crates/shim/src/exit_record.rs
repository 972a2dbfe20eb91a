//! The files `exits/<container id>` in a shim's folder: how containers ended, for a daemon that finds no shim any more.
//!
//! The folder lies on a file system that lives as long as the processes do (`/run`), so a rename without a sync is
//! enough.

use std::io;
use std::os::fd::OwnedFd;

use cradle_domain::ContainerId;
use cradle_sys::durable;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::protocol::{ContainerReport, ExitRecord};

/// Version of the record's form.
pub const VERSION: u32 = 1;

const FOLDER: &str = "exits";

/// Why a record was not written or removed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} the exit record of container {}", container.short())]
pub struct ExitRecordError {
    doing: &'static str,
    container: ContainerId,
    source: io::Error,
}

/// Writes the record of `report`, whole or not at all.
pub fn write(directory: &OwnedFd, report: &ContainerReport) -> Result<(), ExitRecordError> {
    let container = &report.container;
    let failed = |source: io::Error| ExitRecordError { doing: "writing", container: container.clone(), source };
    let record = ExitRecord { version: VERSION, report: report.clone() };
    let bytes = postcard::to_allocvec(&record).map_err(|error| failed(io::Error::other(error)))?;
    replace(directory, container.as_str(), &bytes).map_err(failed)
}

/// Removes the record of `container`; without one this succeeds.
pub fn remove(directory: &OwnedFd, container: &ContainerId) -> Result<(), ExitRecordError> {
    match rustix::fs::unlinkat(directory, format!("{FOLDER}/{container}"), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(ExitRecordError { doing: "removing", container: container.clone(), source: errno.into() }),
    }
}

fn replace(directory: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    match rustix::fs::mkdirat(directory, FOLDER, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(directory, FOLDER, flags, Mode::empty())?;
    durable::replace(&folder, name, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Exit;
    use cradle_domain::Timestamp;

    fn open(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    fn report() -> ContainerReport {
        let exit = Exit { code: 137, at: Timestamp(5), oom_killed: true, timed_out: false };
        ContainerReport {
            container: ContainerId::from_random([7; 32]),
            pid: 42,
            started_at: Timestamp(3),
            exit: Some(exit),
        }
    }

    #[test]
    fn a_record_is_written_replaced_read_back_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = open(folder.path());
        write(&directory, &report()).unwrap();
        write(&directory, &report()).unwrap();
        let path = folder.path().join(FOLDER).join(report().container.as_str());
        let record: ExitRecord = postcard::from_bytes(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((record.version, record.report.exit), (VERSION, report().exit));
        assert_eq!(std::fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 1);
        remove(&directory, &report().container).unwrap();
        remove(&directory, &report().container).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_was_removed_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let directory = open(folder.path());
        drop(folder);
        assert!(write(&directory, &report()).is_err());
        assert!(remove(&directory, &report().container).is_ok());
    }
}
