//! From an OCI runtime specification to the list of steps that start a container, without doing any of them.

mod display;
mod facts;
mod step;

use std::path::PathBuf;

use cradle_domain::{Class, Classified, ContainerId};
use oci_spec::runtime::{Process, Spec};
use serde::{Deserialize, Serialize};

pub use self::facts::{Facts, ReadFactsError};
pub use self::step::*;

use crate::cgroup::{CgroupPlan, Layout};

/// A namespace path in a specification that stands for the pod's own namespace of that kind, and not for a file.
pub const POD_NAMESPACE: &str = "/cradle.pod";

/// A mount type in a specification that stands for the `/dev/shm` that the containers of a pod share.
pub const POD_SHM: &str = "cradle.pod-shm";

/// What a specification does not say.
#[derive(Debug, Clone)]
pub struct PlanContext<'a> {
    pub id: ContainerId,
    pub rootfs: Rootfs,
    pub facts: &'a Facts,
}

/// All that is done to start a container's first process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerPlan {
    pub id: ContainerId,
    pub cgroup: CgroupPlan,
    pub layout: Layout,
    pub namespaces: Namespaces,
    /// Done in order by the child of clone3; the last one is its execve.
    pub steps: Vec<Step>,
}

/// All that is done to start one more process in a running container.
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
}

impl Classified for PlanError {
    fn class(&self) -> Class {
        match self {
            PlanError::Missing { .. } | PlanError::Invalid { .. } => Class::Invalid,
            PlanError::Unimplemented { .. } => Class::Unimplemented,
        }
    }
}

/// Plans a container. Pure: nothing is read but the arguments.
pub fn container(spec: &Spec, context: &PlanContext<'_>) -> Result<ContainerPlan, PlanError> {
    let _ = (spec, context);
    Err(PlanError::Unimplemented { feature: "container".into() })
}

/// Plans one more process in the container that `of` starts.
pub fn exec(process: &Process, of: &ContainerPlan, facts: &Facts) -> Result<ExecPlan, PlanError> {
    let _ = (process, of, facts);
    Err(PlanError::Unimplemented { feature: "exec".into() })
}

/// Where a container's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay of the folders `lower`, the topmost first.
    Overlay { lower: Vec<PathBuf>, upper: PathBuf, work: PathBuf },
    Directory(PathBuf),
}
