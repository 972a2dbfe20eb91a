//! The user namespaces by which mounts of a plan are mapped (mount_setattr(2), MOUNT_ATTR_IDMAP).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cradle_sys::SingleThreaded;

use super::error::StartError;
use crate::plan::{IdMapping, MountSource, Step};
use crate::pod::PodNamespaces;
use crate::user_namespace;

/// A user namespace for each mapping of a plan: the pod's own, where the mapping is the same.
#[derive(Debug, Default)]
pub(super) struct Mappings<'a> {
    pod: Option<(&'a IdMapping, BorrowedFd<'a>)>,
    made: Vec<(&'a IdMapping, OwnedFd)>,
}

impl<'a> Mappings<'a> {
    /// They are made before the clone, by the shim: the child may be in a PID namespace whose processes have other
    /// numbers than the host's `/proc` shows.
    pub(super) fn of(steps: &'a [Step], pod: &'a PodNamespaces, single: &SingleThreaded) -> Result<Self, StartError> {
        let mut mappings = Mappings { pod: pod.user_namespace(), made: Vec::new() };
        for mapping in steps.iter().filter_map(mapping) {
            if mappings.get(mapping).is_none() {
                let made = user_namespace::make(mapping, single);
                let made = made.map_err(|error| StartError::io("mapping the ids of a mount", &error))?;
                mappings.made.push((mapping, made));
            }
        }
        Ok(mappings)
    }

    pub(super) fn get(&self, mapping: &IdMapping) -> Option<BorrowedFd<'_>> {
        let made = self.made.iter().map(|(known, namespace)| (*known, namespace.as_fd()));
        self.pod.into_iter().chain(made).find_map(|(known, namespace)| (known == mapping).then_some(namespace))
    }
}

fn mapping(step: &Step) -> Option<&IdMapping> {
    match step {
        Step::Mount(mount) => match &mount.what {
            MountSource::Bind { mapping, .. } => mapping.as_ref(),
            _ => None,
        },
        Step::MapOwners { mapping, .. } => Some(mapping),
        _ => None,
    }
}
