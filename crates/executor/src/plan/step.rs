//! The steps of a plan, as data.

use std::ffi::CString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::capabilities::{CapabilitySet, CapabilitySets};
use super::mount_options::{Attributes, Propagation};
use crate::seccomp;

/// Which namespace of a kind a container's process lives in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// The one that the host's processes share.
    #[default]
    Host,
    /// A new one.
    New,
    /// The one that the containers of the pod share.
    Pod,
    /// Another process's: a file such as `/proc/123/ns/net`.
    Path(PathBuf),
}

/// One namespace of each kind that a container can share. The mount namespace is always a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    pub pid: Namespace,
    pub network: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroup: Namespace,
}

/// Where a container's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay of the folders `lower`, the topmost first.
    Overlay {
        lower: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
    },
    Directory(PathBuf),
}

/// One thing that the child does on its way to execve. Paths `at` are the container's; they are resolved beneath its
/// root by the kernel, symbolic links included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Open the source of every bind mount of the plan, while the mount namespace is still a copy of the host's.
    OpenBindSources,
    /// Cut the mount namespace off from the host's: no mount or unmount passes in either direction.
    IsolateMounts,
    /// Mount the root; what is beneath the paths of later steps is beneath it.
    MountRoot {
        rootfs: Rootfs,
        label: Option<String>,
    },
    Mount(Mount),
    /// Change the attributes of what is mounted at a path.
    ChangeMount {
        at: PathBuf,
        attributes: Attributes,
    },
    /// Make a folder, and those above it, where there is none.
    MakeDirectory {
        at: PathBuf,
    },
    MakeNode(DeviceNode),
    /// Make a symbolic link where there is nothing yet.
    MakeLink {
        at: PathBuf,
        target: PathBuf,
    },
    /// Open a new terminal of the devpts at `/dev/pts`, make it the controlling one and stdin, stdout and stderr.
    OpenTerminal {
        console: Console,
    },
    /// Cover a path, if it exists: a folder with an empty one, a file with `/dev/null`.
    MaskPath(PathBuf),
    /// Make a path, if it exists, read-only with all that is mounted beneath it.
    ProtectPath(PathBuf),
    /// Make the container's root the root of the mount namespace and let go of the host's.
    EnterRoot,
    /// Change the propagation of the container's root mount.
    PropagateRoot(Propagation),
    SetHostname(CString),
    SetDomainname(CString),
    SetSysctl {
        name: String,
        value: String,
    },
    /// A session keyring of this name instead of the shim's.
    JoinKeyring(CString),
    SetOomScoreAdj(i32),
    /// A label for the program about to be executed.
    SetLabel {
        module: SecurityModule,
        label: String,
    },
    SetUmask(u32),
    EnterDirectory(PathBuf),
    SetLimit(Limit),
    /// Drop every other capability from the bounding set.
    LimitCapabilities(CapabilitySet),
    SetIdentity(Identity),
    SetCapabilities(CapabilitySets),
    /// The process is killed when the shim dies. (The kernel forgets this when a process changes its user or group.)
    DieWithShim,
    /// Every descriptor but the first three is closed by execve.
    CloseDescriptors,
    /// Look the program up, as the user who will execute it.
    FindProgram {
        name: CString,
        search: Vec<PathBuf>,
    },
    NoNewPrivileges,
    InstallFilter(seccomp::Program),
    /// Execute the program that was found.
    Execute {
        arguments: Vec<CString>,
        environment: Vec<CString>,
    },
    /// Let the owners of what lies in these folders of the host appear mapped. Only this process sees them so.
    MapOwners {
        folders: Vec<PathBuf>,
        mapping: IdMapping,
    },
    /// Make now what later steps mount and only the host's root can make: overlays, sysfs, device nodes.
    MakeSources,
    /// Raise a hard limit, which only the host's root can, for the step that sets the limit later.
    AllowLimit(Limit),
    /// Give stdin, stdout and stderr to the user of the host that the program will run as, enter the pod's user namespace
    /// and become root in it. A container's first process is made anew there: from now on its mount namespace, and every
    /// other new one, belongs to that user namespace.
    EnterUserNamespace {
        mapping: IdMapping,
        stdio_owner: u32,
    },
}

/// Whether a terminal also appears as `/dev/console`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Console {
    Bound,
    Absent,
}

/// Something mounted in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub at: PathBuf,
    pub what: MountSource,
    pub attributes: Attributes,
    pub propagation: Option<Propagation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A new file system: tmpfs, proc, sysfs, devpts, mqueue, or any other that the kernel has.
    New { kind: String, source: String, options: Vec<FilesystemOption> },
    /// A file or folder of the host.
    Bind { source: PathBuf, depth: Depth, mapping: Option<IdMapping> },
    /// The pod's `/dev/shm`.
    PodShm,
    /// Folders over each other, the topmost first, with a writable one on top if there is one; or a part of that.
    Overlay { lower: Vec<PathBuf>, writable: Option<Writable>, sub_path: Option<PathBuf> },
}

/// The writable part of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writable {
    pub upper: PathBuf,
    pub work: PathBuf,
}

/// An option of a file system: `key=value`, or a flag when there is no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemOption {
    pub key: String,
    pub value: Option<String>,
}

/// Whether a bind mount takes what is mounted beneath its source along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Depth {
    Mount,
    Tree,
}

/// How user and group ids of a file system or namespace appear inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub length: u32,
}

impl IdMapping {
    /// The user of the host that is `uid` inside.
    pub fn outer_uid(&self, uid: u32) -> Option<u32> {
        outer(&self.uids, uid)
    }

    /// The group of the host that is `gid` inside.
    pub fn outer_gid(&self, gid: u32) -> Option<u32> {
        outer(&self.gids, gid)
    }
}

fn outer(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.inside).filter(|offset| *offset < range.length)?;
        range.outside.checked_add(offset)
    })
}

/// A device node, or a FIFO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    pub at: PathBuf,
    pub kind: NodeKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    Character { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Fifo,
}

/// A Linux security module that labels programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityModule {
    AppArmor,
    Selinux,
}

/// A resource limit (getrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    pub resource: LimitedResource,
    pub soft: u64,
    pub hard: u64,
}

/// A resource of getrlimit(2), by its place in [`super::limit::RESOURCES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitedResource(pub(super) u8);

/// Who the process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub supplementary_gids: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_mapped_by_the_range_that_it_lies_in() {
        let range = |inside, outside, length| IdRange { inside, outside, length };
        let uids = vec![range(0, 1000, 10), range(20, 5000, 1), range(30, u32::MAX, 2)];
        let mapping = IdMapping { uids, gids: vec![range(0, 7, 1)] };
        for (uid, outer) in [(0, Some(1000)), (9, Some(1009)), (10, None), (20, Some(5000)), (21, None), (31, None)] {
            assert_eq!(mapping.outer_uid(uid), outer, "{uid}");
        }
        assert_eq!((mapping.outer_gid(0), mapping.outer_gid(1)), (Some(7), None));
    }
}
