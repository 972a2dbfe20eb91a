//! Devices of the host that a container sees: those of the request, and all for a privileged one.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cradle_domain::{Class, Failure};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use crate::spec::Device;

/// Folders below `/dev` that are no devices of the host's, or that the container has of its own.
const NOT_SHARED: [&str; 6] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts"];
/// Devices that every container has of its own.
const OWN: [&str; 1] = ["console"];
/// Entries of one folder of devices.
const FOLDER_MAX: usize = 4096;

/// The devices of a container.
///
/// # Errors
/// A device of the request is not there.
pub(super) fn of(privileged: bool, asked: &[Device]) -> Result<Vec<LinuxDevice>, Failure> {
    let mut devices = Vec::new();
    if privileged {
        collect(Path::new("/dev"), Path::new("/dev"), &mut devices, true)
            .map_err(|error| Failure::new(Class::Unavailable, format!("listing the host's devices: {error}")))?;
    }
    for device in asked {
        let container_path = if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
        let (host, inside) = (Path::new(&device.host_path), Path::new(container_path));
        let found = fs::metadata(host).and_then(|metadata| {
            if metadata.is_dir() {
                return collect(host, inside, &mut devices, false);
            }
            devices.push(node(&metadata, inside).ok_or_else(|| io::Error::other("it is no device"))?);
            Ok(())
        });
        found.map_err(|error| {
            Failure::new(Class::Invalid, format!("the device {:?}: {error}", device.host_path))
                .with_hint("devices are named by their path on this node")
        })?;
    }
    Ok(devices)
}

/// All devices below a folder, at the same places below `inside`.
fn collect(folder: &Path, inside: &Path, devices: &mut Vec<LinuxDevice>, host: bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.take(FOLDER_MAX) {
        let entry = entry?;
        let name = entry.file_name();
        let known = |names: &[&str]| names.iter().any(|known| name == *known);
        if host && (known(&NOT_SHARED) || known(&OWN)) {
            continue;
        }
        let path: PathBuf = inside.join(&name);
        // A device may vanish while the list is read.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            collect(&entry.path(), &path, devices, host)?;
        } else {
            devices.extend(node(&metadata, &path));
        }
    }
    Ok(())
}

fn node(metadata: &fs::Metadata, path: &Path) -> Option<LinuxDevice> {
    let kind = metadata.file_type();
    let kind = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => LinuxDeviceType::C,
        (_, true) => LinuxDeviceType::B,
        (false, false) => return None,
    };
    let number = metadata.rdev();
    let mut device = LinuxDevice::default();
    device
        .set_path(path.into())
        .set_typ(kind)
        .set_major(i64::from(rustix::fs::major(number)))
        .set_minor(i64::from(rustix::fs::minor(number)))
        .set_file_mode(Some(metadata.mode() & 0o7777))
        .set_uid(Some(metadata.uid()))
        .set_gid(Some(metadata.gid()));
    Some(device)
}
