//! What a child does differently for a pod with a user namespace of its own: all that only the host's root can do comes
//! first, then it enters the namespace and is root of that.
//!
//! Root of a user namespace sees of the host what everybody sees, and owns none of it. So the layers of images appear
//! mapped before the overlay is made of them; overlays, sysfs (which belongs to the network namespace, perhaps the host's)
//! and device nodes are made before they are mounted; and the standard streams are given away.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use cradle_sys::namespace::{self, Kinds};
use cradle_sys::process::NewNamespaces;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, mknodat, openat};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{DumpableBehavior, Rlimit, fchdir, getrlimit, set_dumpable_behavior, setrlimit, setsid};

use super::{Child, file_kind};
use crate::plan::mount_options::{Attributes, NOEXEC, NOSUID};
use crate::plan::{Depth, DeviceNode, IdMapping, Limit, Mount, MountSource, NodeKind, Step, UNLIMITED};
use crate::run::failure::{Explain, StepError};
use crate::run::launch::Entering;
use crate::run::root::Root;
use crate::run::{identity, mounts, overlay, successor};
use crate::user_namespace;

impl<'a> Child<'a> {
    /// Covers each folder with a mapped copy of itself, in a mount namespace that nobody else is in.
    pub(super) fn map_owners(&self, folders: &[PathBuf], mapping: &IdMapping) -> Result<(), StepError> {
        for folder in folders {
            let named = || folder.display().to_string();
            let copied = mounts::copy_path(folder, Depth::Mount).explain(named)?;
            self.map(&copied, mapping).explain(named)?;
            move_mount(&copied, c"", CWD, folder, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).explain(named)?;
        }
        Ok(())
    }

    /// Lets the owners of a mount that is attached nowhere appear mapped.
    pub(super) fn map(&self, mount: &OwnedFd, mapping: &IdMapping) -> rustix::io::Result<()> {
        let namespace = self.launch.mappings.get(mapping).ok_or(rustix::io::Errno::NOENT)?;
        mounts::shape(mount, Attributes::default(), None, Some(namespace))
    }

    pub(super) fn make_sources(&mut self) -> Result<(), StepError> {
        let launch = self.launch;
        let mapping = launch.steps.iter().find_map(|step| match step {
            Step::EnterUserNamespace { mapping, .. } => Some(mapping),
            _ => None,
        });
        let mut nodes = Vec::new();
        for (place, step) in launch.steps.iter().enumerate() {
            let made = match step {
                Step::Mount(Mount { at, what: MountSource::Overlay { lower, writable, sub_path }, .. }) => {
                    let made = overlay::open(lower, writable.as_ref(), sub_path.as_deref());
                    made.map_err(|error| error.on(&format!("overlay for {}", at.display())))?
                }
                Step::Mount(Mount { at, what: MountSource::New { kind, source, options }, attributes, .. })
                    if kind == "sysfs" && !launch.inner.contains(NewNamespaces::NETWORK) =>
                {
                    let made =
                        mounts::new_filesystem(kind, source, options, attributes.mount.set | attributes.tree.set);
                    made.map_err(|error| error.on(&at.display().to_string()))?
                }
                Step::MakeNode(node) if node.kind != NodeKind::Fifo => {
                    nodes.push((place, node));
                    continue;
                }
                _ => continue,
            };
            self.keep_source(place, made);
        }
        self.make_nodes(&nodes, mapping.ok_or_else(|| StepError::saying("there is no user namespace to enter"))?)
    }

    fn keep_source(&mut self, place: usize, made: OwnedFd) {
        if let Some(source) = self.sources.get_mut(place) {
            *source = Some(made);
        }
    }

    /// Makes device nodes in a file system that is seen by this process alone, and for a moment.
    fn make_nodes(&mut self, nodes: &[(usize, &DeviceNode)], mapping: &IdMapping) -> Result<(), StepError> {
        let folder = mounts::new_filesystem("tmpfs", "tmpfs", &[], NOSUID | NOEXEC)?;
        // Attached: before Linux 6.15, nothing can be copied out of a mount that is not.
        mounts::attach(&folder, self.root()?.fd())?;
        for (place, node) in nodes {
            let name = place.to_string();
            let named = || node.at.display().to_string();
            let (kind, device) = file_kind(node.kind);
            mknodat(&folder, name.as_str(), kind, Mode::from_raw_mode(node.mode), device).explain(named)?;
            // An owner that is not mapped appears as nobody.
            let uid = Uid::from_raw(mapping.outer_uid(node.uid).unwrap_or(node.uid));
            let gid = Gid::from_raw(mapping.outer_gid(node.gid).unwrap_or(node.gid));
            chownat(&folder, name.as_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).explain(named)?;
            let made = openat(&folder, name.as_str(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
            let copied = made.and_then(|made| mounts::copy(made.as_fd(), Depth::Mount)).explain(named)?;
            self.keep_source(*place, copied);
        }
        fchdir(&folder)?;
        Ok(unmount(".", UnmountFlags::DETACH)?)
    }

    pub(super) fn enter_user_namespace(&mut self, stdio_owner: u32) -> Result<(), StepError> {
        identity::give_stdio(stdio_owner);
        match &self.launch.entering {
            Entering::Exec { container } => {
                namespace::enter(*container, Kinds::USER, self.single)?;
                self.become_root()
            }
            Entering::Container { pod, .. } => {
                let (_, user) = pod.user_namespace().ok_or_else(|| StepError::saying("the pod has none"))?;
                // A mount of the present mount namespace has no meaning in the next one, but for a copy and for the
                // working directory.
                let tree = mounts::copy(self.root()?.fd().as_fd(), Depth::Tree)?;
                fchdir(self.root()?.fd())?;
                if let Some(pids) = self.launch.inner_pid_namespace {
                    namespace::enter(pids, Kinds::PROCESS_ID, self.single).explain(|| "PID namespace".into())?;
                }
                namespace::enter(user, Kinds::USER, self.single)?;
                self.become_root()?;
                successor::succeed(self.launch.inner, self.line, self.single).explain(|| "new namespaces".into())?;
                self.die_with_shim()?;
                setsid().explain(|| "session".into())?;
                move_mount(&tree, c"", CWD, c".", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
                self.root = Some(Root::new(tree));
                Ok(())
            }
        }
    }

    /// A change of the user unties a process from its parent, and may make it readable.
    fn become_root(&self) -> Result<(), StepError> {
        user_namespace::become_root().explain(|| "becoming its root".into())?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        self.die_with_shim()
    }
}

/// Raises a hard limit, so that it can be set without privilege.
pub(super) fn allow_limit(limit: &Limit) -> Result<(), StepError> {
    let resource = limit.resource.resource();
    let present = getrlimit(resource);
    let wanted = (limit.hard != UNLIMITED).then_some(limit.hard);
    let is_higher = match (wanted, present.maximum) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(wanted), Some(present)) => wanted > present,
    };
    if is_higher {
        setrlimit(resource, Rlimit { maximum: wanted, ..present })?;
    }
    Ok(())
}
