//! What this machine grants, read once at start-up.

use std::fs;
use std::io;

use cradle_domain::{Class, Classified};
use serde::{Deserialize, Serialize};

use super::capabilities::CapabilitySet;
use super::limit::{self, HardLimits};
use crate::cgroup::{Layout, LayoutError};
use crate::seccomp::Architecture;

/// The lowest `oom_score_adj` (proc_pid_oom_score_adj(5)).
pub const OOM_SCORE_ADJ_MIN: i32 = -1000;

/// What this machine grants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Facts {
    /// The capabilities that this process may hand on: its bounding set.
    pub capabilities: CapabilitySet,
    /// The lowest `oom_score_adj` that a container can get.
    pub oom_score_adj_floor: i32,
    /// The highest hard limit of each resource that a process can get.
    pub hard_limits: HardLimits,
    pub layout: Layout,
    pub architecture: Architecture,
    pub seccomp: bool,
    pub apparmor: bool,
    pub selinux: bool,
    /// The kernel has mount_setattr (Linux 5.12): recursive read-only and idmapped mounts. No container starts without.
    pub mount_attributes: bool,
    /// One sentence for each thing that containers get less of than they may ask for.
    pub warnings: Vec<String>,
}

/// Why the machine could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReadFactsError {
    #[error("reading {path}")]
    Read { path: &'static str, source: io::Error },
    #[error("looking at the control groups")]
    Cgroups { source: LayoutError },
}

impl Classified for ReadFactsError {
    fn class(&self) -> Class {
        Class::Unavailable
    }
}

impl Facts {
    /// Looks at the machine. Every shim and container is a descendant of the calling process and can have no more.
    pub fn read() -> Result<Self, ReadFactsError> {
        let layout = Layout::detect().map_err(|source| ReadFactsError::Cgroups { source })?;
        let capabilities = bounding_set()?;
        let may_raise = capabilities.contains(CapabilitySet::SYS_RESOURCE);
        let mut facts = Facts {
            capabilities,
            oom_score_adj_floor: if may_raise { OOM_SCORE_ADJ_MIN } else { own_oom_score_adj()? },
            hard_limits: if may_raise { limit::highest(open_files_max()?) } else { limit::own_hard_limits() },
            layout,
            architecture: Architecture::native(),
            seccomp: fs::exists("/proc/sys/kernel/seccomp").unwrap_or(false),
            apparmor: fs::read("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|enabled| enabled.starts_with(b"Y")),
            selinux: fs::exists("/sys/fs/selinux/enforce").unwrap_or(false),
            mount_attributes: cradle_sys::mount::can_set_attributes(),
            warnings: Vec::new(),
        };
        facts.warnings = facts.warn();
        Ok(facts)
    }

    fn warn(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let missing = CapabilitySet::all().without(self.capabilities);
        if missing.0 != 0 {
            warnings.push(format!("this machine does not grant the capabilities {missing}: no container gets them"));
        }
        if !self.capabilities.contains(CapabilitySet::SYS_RESOURCE) {
            let (files, floor) = (self.hard_limits[limit::OPEN_FILES], self.oom_score_adj_floor);
            warnings.push(format!(
                "without CAP_SYS_RESOURCE, no resource limit can be above this process's own ({files} open files)"
            ));
            warnings.push(format!("without CAP_SYS_RESOURCE, no oom_score_adj can be lower than {floor}"));
        }
        if !self.mount_attributes {
            warnings.push("this kernel has no mount_setattr (Linux 5.12): no container can start".into());
        }
        if !self.seccomp {
            warnings.push("this kernel has no seccomp: containers with a filter cannot start".into());
        }
        warnings
    }
}

fn bounding_set() -> Result<CapabilitySet, ReadFactsError> {
    const PATH: &str = "/proc/self/status";
    let error = |source| ReadFactsError::Read { path: PATH, source };
    let status = fs::read_to_string(PATH).map_err(error)?;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.map(CapabilitySet).ok_or_else(|| error(io::ErrorKind::InvalidData.into()))
}

fn own_oom_score_adj() -> Result<i32, ReadFactsError> {
    number("/proc/self/oom_score_adj")
}

/// Even the mightiest process can have no more files open.
fn open_files_max() -> Result<u64, ReadFactsError> {
    number("/proc/sys/fs/nr_open")
}

fn number<T: std::str::FromStr>(path: &'static str) -> Result<T, ReadFactsError> {
    let error = |source| ReadFactsError::Read { path, source };
    let text = fs::read_to_string(path).map_err(error)?;
    text.trim().parse().map_err(|_| error(io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_lacks_is_told_once_each() {
        let facts = super::super::test_facts(Layout::v2(std::path::Path::new("/sys/fs/cgroup"), &[]));
        assert_eq!(facts.warn(), Vec::<String>::new());
        let less = Facts {
            capabilities: CapabilitySet::all().without(CapabilitySet::SYS_RESOURCE),
            hard_limits: [1000; limit::RESOURCES.len()],
            oom_score_adj_floor: 0,
            ..facts
        };
        assert_eq!(
            less.warn(),
            [
                "this machine does not grant the capabilities SYS_RESOURCE: no container gets them",
                "without CAP_SYS_RESOURCE, no resource limit can be above this process's own (1000 open files)",
                "without CAP_SYS_RESOURCE, no oom_score_adj can be lower than 0",
            ]
        );
    }
}
