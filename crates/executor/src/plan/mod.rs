//! From an OCI runtime specification to the list of steps that start a container, without doing any of them.
//!
//! A plan is data: it is printed by `cradle explain` and held by golden files (its `Display` has one step a line), it
//! crosses the socket to the shim, and [`crate::run`] performs it.
//!
//! Two names in a specification stand for something of the pod's that has no path, [`POD_NAMESPACE`] and [`POD_SHM`], and
//! one option for a part of an image, [`SUB_PATH`].

pub mod capabilities;
pub mod mount_options;

mod container;
mod devices;
mod display;
mod facts;
mod limit;
mod mounts;
mod process;
mod step;
#[cfg(test)]
mod tests;

use std::ffi::CStr;

use cradle_domain::{Class, Classified, ContainerId};
use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};

pub use self::container::container;
pub use self::facts::{Facts, OOM_SCORE_ADJ_MIN, ReadFactsError};
pub use self::limit::{HardLimits, OPEN_FILES, RESOURCES, UNLIMITED};
pub use self::step::*;

use crate::cgroup::{self, CgroupPlan, Layout};
use crate::seccomp;

/// The kind of terminal that a command with a terminal is told of when nothing else is said.
const DEFAULT_TERM: &CStr = c"TERM=xterm";

/// A namespace path in a specification that stands for the pod's own namespace of that kind, and not for a file.
pub const POD_NAMESPACE: &str = "/cradle.pod";

/// A mount type in a specification that stands for the `/dev/shm` that the containers of a pod share.
pub const POD_SHM: &str = "cradle.pod-shm";

/// An option of an overlay in a specification: show only what is at this path inside, a folder or a file. Symbolic links
/// lead nowhere but inside.
pub const SUB_PATH: &str = "cradle.sub-path";

/// What a specification does not say.
#[derive(Debug, Clone)]
pub struct PlanContext<'a> {
    pub id: ContainerId,
    pub rootfs: Rootfs,
    pub owners: ImageOwners,
    pub facts: &'a Facts,
}

/// Whom the files of images belong to on disk: those of the root file system and of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageOwners {
    /// Whom the image says. In a user namespace they are mapped as they are mounted.
    Original,
    /// The users of the host that those are mapped to in the pod's user namespace.
    Shifted,
}

/// All that is done to start a container's first process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerPlan {
    pub id: ContainerId,
    pub layout: Layout,
    pub cgroup: CgroupPlan,
    pub namespaces: Namespaces,
    /// Done in order by the child of clone3; the last one is its execve.
    pub steps: Vec<Step>,
}

/// All that is done to start one more process in a running container. What it shares with the container (namespaces,
/// control groups) it takes from the running one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecPlan {
    /// Done in order by the child of clone3; the last one is its execve.
    pub steps: Vec<Step>,
}

/// Why a specification cannot become a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the specification has no {field}")]
    Missing { field: &'static str },
    #[error("{field} {value:?} {problem}")]
    Invalid { field: &'static str, value: String, problem: &'static str },
    #[error("{feature} is not supported")]
    Unimplemented { feature: String },
    #[error("planning the control group")]
    Cgroup { source: cgroup::PlanError },
    #[error("compiling the seccomp filter")]
    Seccomp { source: seccomp::SeccompError },
}

impl Classified for PlanError {
    fn class(&self) -> Class {
        match self {
            PlanError::Missing { .. } | PlanError::Invalid { .. } => Class::Invalid,
            PlanError::Unimplemented { .. } => Class::Unimplemented,
            PlanError::Cgroup { source } => source.class(),
            PlanError::Seccomp { source } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PlanError::Cgroup { source } => source.hint(),
            PlanError::Seccomp { source } => source.hint(),
            PlanError::Missing { .. } | PlanError::Invalid { .. } | PlanError::Unimplemented { .. } => None,
        }
    }
}

/// Plans one more process in the container that `of` starts; the container's filter is taken over.
///
/// Where many are started that differ in their command only, [`ExecPlan::with_command`] is cheaper.
pub fn exec(process: &Process, of: &ContainerPlan, facts: &Facts) -> Result<ExecPlan, PlanError> {
    let keyring = of.steps.iter().find_map(|step| match step {
        Step::JoinKeyring(name) => Some(name.clone()),
        _ => None,
    });
    let filter = of.steps.iter().find_map(|step| match step {
        Step::InstallFilter(program) => Some(program),
        _ => None,
    });
    let keyring = keyring.ok_or(PlanError::Missing { field: "session keyring" })?;
    let mapping = of.user_namespace();
    let mut steps = match mapping {
        Some(mapping) => process::enter_user_namespace(process, mapping, facts)?,
        None => Vec::new(),
    };
    if process.terminal().unwrap_or(false) {
        steps.push(Step::OpenTerminal { console: Console::Absent });
    }
    steps.extend(process::plan(process, filter, keyring, mapping, facts)?);
    Ok(ExecPlan { steps })
}

impl ContainerPlan {
    /// The mapping of the pod's user namespace, if the container is in that; none: it is in the host's.
    pub fn user_namespace(&self) -> Option<&IdMapping> {
        self.steps.iter().find_map(|step| match step {
            Step::EnterUserNamespace { mapping, .. } => Some(mapping),
            _ => None,
        })
    }
}

impl ExecPlan {
    /// The same plan for another command, with or without a terminal.
    pub fn with_command(&self, arguments: &[String], terminal: bool) -> Result<ExecPlan, PlanError> {
        let environment = self.steps.iter().find_map(|step| match step {
            Step::Execute { environment, .. } => Some(environment.clone()),
            _ => None,
        });
        let mut environment = environment.unwrap_or_default();
        if terminal && !environment.iter().any(|variable| variable.to_bytes().starts_with(b"TERM=")) {
            environment.push(DEFAULT_TERM.to_owned());
        }
        let (find, execute) = process::command(arguments, environment)?;
        let rest = self.steps.iter().filter_map(|step| match step {
            Step::OpenTerminal { .. } => None,
            Step::FindProgram { .. } => Some(find.clone()),
            Step::Execute { .. } => Some(execute.clone()),
            other => Some(other.clone()),
        });
        let mut steps: Vec<Step> = rest.collect();
        if terminal {
            // The devpts is the user namespace's: its root opens the terminal.
            let entered = steps.iter().position(|step| matches!(step, Step::EnterUserNamespace { .. }));
            let place = entered.map_or(0, |place| place + 1);
            steps.insert(place, Step::OpenTerminal { console: Console::Absent });
        }
        Ok(ExecPlan { steps })
    }
}

/// A machine that grants everything.
#[cfg(test)]
fn test_facts(layout: Layout) -> Facts {
    Facts {
        capabilities: capabilities::CapabilitySet::all(),
        oom_score_adj_floor: OOM_SCORE_ADJ_MIN,
        hard_limits: limit::highest(1 << 20),
        layout,
        architecture: seccomp::Architecture::X86_64,
        seccomp: true,
        apparmor: false,
        selinux: false,
        mount_attributes: true,
        warnings: Vec::new(),
    }
}
