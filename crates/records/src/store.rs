//! Keeps one record a file, under the state folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cradle_domain::{Class, Classified, ContainerId, Failure, PodId};
use cradle_engine::ports::{Act, ContainerRecord, LoadedRecords, PodRecord, Records};
use cradle_sys::durable::{self, TEMPORARY_SUFFIX};
use serde::de::DeserializeOwned;

use crate::form::{self, RECORD_MAX_BYTES};

const POD: &str = "pod";
const CONTAINER: &str = "container";
const CONTAINERS: &str = "containers";
const BOOT: &str = "boot";

/// The records under one state folder.
#[derive(Debug)]
pub struct Store {
    pods: PathBuf,
    /// Folders of removed pods, until they are deleted.
    removed: PathBuf,
    damaged: PathBuf,
    rebooted: bool,
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("making {}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

impl Classified for OpenError {
    fn class(&self) -> Class {
        Class::Unavailable
    }

    fn hint(&self) -> Option<String> {
        Some("the state folder must be on a writable file system, usually /run".into())
    }
}

/// A record could not be written or removed.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error("recording it in {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("encoding the record {}", path.display())]
    Encode { path: PathBuf, source: serde_json::Error },
    #[error("removing {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
}

impl Classified for SaveError {
    fn class(&self) -> Class {
        match self {
            SaveError::Write { source, .. } | SaveError::Remove { source, .. } => class_of(source),
            SaveError::Encode { .. } => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        (self.class() == Class::Exhausted).then(|| "make room on the file system of the state folder".into())
    }
}

fn class_of(error: &io::Error) -> Class {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => Class::Exhausted,
        io::ErrorKind::ResourceBusy => Class::Busy,
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => Class::Exhausted,
        _ => Class::Unavailable,
    }
}

impl Store {
    /// Opens the records under `state`, making its folders (0700) where they are missing. `boot_id` names the machine's
    /// present life (`/proc/sys/kernel/random/boot_id`).
    ///
    /// # Errors
    /// A folder cannot be made, or the boot id cannot be written.
    pub fn open(state: &Path, boot_id: &str) -> Result<Self, OpenError> {
        let (pods, removed, damaged) = (state.join("pods"), state.join("removed"), state.join("damaged"));
        for path in [&pods, &removed, &damaged] {
            make_folder(path).map_err(|source| OpenError { path: path.clone(), source })?;
        }
        let path = state.join(BOOT);
        let earlier = fs::read_to_string(&path).ok();
        let rebooted = earlier.as_ref().is_some_and(|earlier| earlier != boot_id);
        // Without need nothing is written: there may be no space, and the daemon must come back all the same.
        if earlier.as_deref() != Some(boot_id) {
            let put = open_folder(state).and_then(|state| durable::replace(state, BOOT, boot_id.as_bytes()));
            put.map_err(|source| OpenError { path, source })?;
        }
        Ok(Store { pods, removed, damaged, rebooted })
    }

    fn pod_folder(&self, pod: &PodId) -> PathBuf {
        self.pods.join(pod.as_str())
    }

    fn write<T: serde::Serialize>(
        &self,
        kind: &'static str,
        folder: &Path,
        name: &str,
        record: &T,
    ) -> Result<(), Failure> {
        let path = folder.join(name);
        let bytes = form::encode(kind, record).map_err(|source| SaveError::Encode { path: path.clone(), source })?;
        let put = || durable::replace(open_folder(folder)?, name, &bytes);
        let put = put().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => make_folder(folder).and_then(|()| put()),
            _ => Err(error),
        });
        Ok(put.map_err(|source| SaveError::Write { path, source })?)
    }

    /// Reads one record; a damaged one is moved aside and told in `damaged`.
    fn read<T: DeserializeOwned>(&self, kind: &'static str, path: &Path, damaged: &mut Vec<String>) -> Option<T> {
        let why = match read_bounded(path) {
            Ok(bytes) => match form::decode(kind, &bytes) {
                Ok(record) => return Some(record),
                Err(error) => cradle_domain::failure::Chain(&error).to_string(),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
        };
        let name = path.strip_prefix(&self.pods).unwrap_or(path).to_string_lossy().replace('/', "-");
        let aside = self.damaged.join(name);
        damaged.push(match fs::rename(path, &aside) {
            Ok(()) => format!("{}: {why}; set aside as {}", path.display(), aside.display()),
            Err(error) => format!("{}: {why}; it cannot be set aside: {error}", path.display()),
        });
        None
    }

    fn load_pod(&self, folder: &Path, loaded: &mut LoadedRecords) {
        let Some(pod) = self.read::<PodRecord>(POD, &folder.join(POD), &mut loaded.damaged) else {
            let name = folder.file_name().and_then(|name| name.to_str());
            loaded.orphans.extend(name.and_then(|name| PodId::parse(name).ok()));
            return;
        };
        loaded.pods.push(pod);
        for path in entries(&folder.join(CONTAINERS)) {
            if path.to_string_lossy().ends_with(TEMPORARY_SUFFIX) {
                // Written by a daemon that died before the rename: the old record, or none, is the truth.
                let _ = fs::remove_file(&path);
                continue;
            }
            loaded.containers.extend(self.read::<ContainerRecord>(CONTAINER, &path, &mut loaded.damaged));
        }
    }
}

impl Records for Store {
    fn save_pod(&self, record: &PodRecord) -> Act<'_, ()> {
        let saved = self.write(POD, &self.pod_folder(&record.id), POD, record);
        Box::pin(std::future::ready(saved))
    }

    fn save_container(&self, record: &ContainerRecord) -> Act<'_, ()> {
        let folder = self.pod_folder(&record.pod).join(CONTAINERS);
        let saved = self.write(CONTAINER, &folder, record.id.as_str(), record);
        Box::pin(std::future::ready(saved))
    }

    fn put_file(&self, pod: &PodId, name: &'static str, content: Vec<u8>) -> Act<'_, ()> {
        let path = self.pod_folder(pod).join(name);
        let put = put_file(&path, &content).map_err(|source| SaveError::Write { path, source }.into());
        Box::pin(std::future::ready(put))
    }

    fn remove_container(&self, pod: &PodId, container: &ContainerId) -> Act<'_, ()> {
        let path = self.pod_folder(pod).join(CONTAINERS).join(container.as_str());
        Box::pin(std::future::ready(gone(&path, fs::remove_file(&path))))
    }

    fn remove_pod(&self, pod: &PodId) -> Act<'_, ()> {
        let folder = self.pod_folder(pod);
        // All of it at once; deleting it file by file takes a disk most of a millisecond.
        let moved = gone(&folder, fs::rename(&folder, self.removed.join(pod.as_str())));
        Box::pin(std::future::ready(moved))
    }

    fn delete_removed(&self) {
        for path in entries(&self.removed) {
            // Another call may be at the same folder.
            if let Err(failure) = gone(&path, fs::remove_dir_all(&path)) {
                tracing::warn!(%failure, "the folder of a removed pod stays until the next one is removed");
            }
        }
    }

    fn load(&self) -> Act<'_, LoadedRecords> {
        let mut loaded = LoadedRecords { rebooted: self.rebooted, ..LoadedRecords::default() };
        for folder in entries(&self.pods) {
            self.load_pod(&folder, &mut loaded);
        }
        Box::pin(std::future::ready(Ok(loaded)))
    }
}

/// Removing what is absent is success.
fn gone(path: &Path, removed: io::Result<()>) -> Result<(), Failure> {
    match removed {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SaveError::Remove { path: path.into(), source }.into()),
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn open_folder(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Not by a rename: containers that are bound to the file would keep the old one.
fn put_file(path: &Path, content: &[u8]) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?;
    // Users other than root read it inside containers, whatever the daemon's umask.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    io::Write::write_all(&mut File::from(file), content)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(RECORD_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > RECORD_MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {RECORD_MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
