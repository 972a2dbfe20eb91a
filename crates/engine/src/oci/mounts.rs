//! Mounts of a container: the kernel's file systems, the pod's files, and those of the request, parents before children.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use cradle_executor::plan::POD_SHM;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Mount};

use super::Inputs;
use crate::pod_files;
use crate::spec::{self, ContainerSpec, IdMapping, MountSource, NamespaceMode, Propagation};

/// The file systems that every container has, as docker and containerd mount them.
const BASE: [(&str, &str, &str, &str); 5] = [
    ("/proc", "proc", "proc", "nosuid,noexec,nodev"),
    ("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
];

const CGROUP: (&str, &str, &str, &str) = ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro");

pub(super) fn build(inputs: &Inputs<'_>) -> Vec<Mount> {
    let asked: HashSet<&Path> = inputs.container.mounts.iter().map(|mount| Path::new(&mount.container_path)).collect();
    let base = BASE.into_iter().chain([CGROUP]).map(|base| base_mount(base, inputs.container.security.privileged));
    let mut mounts: Vec<Mount> = base.chain([shm(inputs)]).chain(pod_files(inputs)).collect();
    mounts.retain(|mount| !asked.contains(mount.destination().as_path()));
    let mut requested: Vec<Mount> = inputs.container.mounts.iter().filter_map(requested).collect();
    requested.extend(inputs.image_mounts.iter().cloned());
    // A folder is mounted before what lies in it; the order of the request decides between equals.
    requested.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(requested);
    mounts
}

fn mount(destination: impl Into<PathBuf>, kind: &str, source: impl Into<PathBuf>, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options));
    mount
}

fn base_mount((destination, kind, source, options): (&str, &str, &str, &str), privileged: bool) -> Mount {
    let writable = privileged && matches!(kind, "sysfs" | "cgroup");
    let options = options.split(',').map(|option| if writable && option == "ro" { "rw" } else { option });
    mount(destination, kind, source, options.map(str::to_owned).collect())
}

/// The pod's shared memory, or the host's with the host's IPC namespace.
fn shm(inputs: &Inputs<'_>) -> Mount {
    if inputs.pod.namespaces.ipc == NamespaceMode::Node {
        mount("/dev/shm", "bind", "/dev/shm", words(&["rbind", "rw"]))
    } else {
        mount("/dev/shm", POD_SHM, "shm", words(&["nosuid", "noexec", "nodev"]))
    }
}

fn pod_files<'a>(inputs: &'a Inputs<'_>) -> impl Iterator<Item = Mount> + 'a {
    let access = if inputs.container.security.readonly_rootfs { "ro" } else { "rw" };
    pod_files::FILES.into_iter().map(move |(name, destination)| {
        let mut file = mount(destination, "bind", inputs.pod_folder.join(name), words(&["bind", "rprivate", access]));
        if let Some(user) = &inputs.pod.namespaces.user {
            file.set_uid_mappings(Some(mappings(&user.uids))).set_gid_mappings(Some(mappings(&user.gids)));
        }
        file
    })
}

/// A mount of the request; those of images are made from their layers.
fn requested(asked: &spec::Mount) -> Option<Mount> {
    let MountSource::Host(source) = &asked.source else { return None };
    let propagation = match asked.propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    let access = match (asked.readonly, asked.recursive_readonly) {
        (true, true) => "rro",
        (true, false) => "ro",
        (false, _) => "rw",
    };
    let mut mount = mount(&asked.container_path, "bind", source, words(&["rbind", propagation, access]));
    if !asked.uid_mappings.is_empty() {
        mount.set_uid_mappings(Some(mappings(&asked.uid_mappings)));
        mount.set_gid_mappings(Some(mappings(&asked.gid_mappings)));
    }
    Some(mount)
}

/// As the runtime specification has them.
pub(super) fn mappings(mappings: &[IdMapping]) -> Vec<LinuxIdMapping> {
    let convert = |mapping: &IdMapping| {
        let builder = LinuxIdMappingBuilder::default().host_id(mapping.host_id).container_id(mapping.container_id);
        // Every field is given: there is nothing that could be missing.
        builder.size(mapping.length).build().unwrap_or_default()
    };
    mappings.iter().map(convert).collect()
}

/// An image's layers, read-only, or a path inside them.
pub(super) fn of_image(destination: &str, layers: &[PathBuf], sub_path: &str) -> Mount {
    let mut options = words(&["ro"]);
    options.extend(layers.iter().map(|layer| format!("lowerdir+={}", layer.display())));
    if !sub_path.is_empty() {
        options.push(format!("cradle.sub-path={sub_path}"));
    }
    mount(destination, "overlay", "overlay", options)
}

/// Mounts of the host reach a container only through a root that lets them.
pub(super) fn root_propagation(spec: &ContainerSpec) -> &'static str {
    let any = |wanted| spec.mounts.iter().any(|mount| mount.propagation == wanted);
    match (any(Propagation::Bidirectional), any(Propagation::HostToContainer)) {
        (true, _) => "rshared",
        (false, true) => "rslave",
        (false, false) => "rprivate",
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
