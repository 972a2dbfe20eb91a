//! What a group is to be, as data: OCI resources become writes and device rules, in order and printable.

use std::borrow::Cow;
use std::fmt;

use cradle_domain::{Class, Classified};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::device::DeviceRules;
use super::layout::Layout;
use super::path::{BadPath, GroupPath};
use super::{v1, v2};

/// A group: where it lies in every tree, what is written into it, in order, and which devices it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Below the root of every tree, with a leading `/`.
    pub path: String,
    pub writes: Vec<Write>,
    /// None: as the group above.
    pub devices: Option<DeviceRules>,
}

/// One value for one file of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The controller, by its name in this layout (`blkio` on v1 is `io` on v2); tells the tree on v1.
    pub controller: Cow<'static, str>,
    pub file: Cow<'static, str>,
    pub value: String,
    pub if_missing: IfMissing,
}

/// What to do where the kernel does not offer a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IfMissing {
    /// The limit cannot be kept: an error.
    Fail,
    /// Without the file, what the value asks for is already so.
    Skip,
    /// Another file means the same.
    Instead { file: Cow<'static, str>, value: String },
}

/// Resources that cannot be turned into a plan for this machine.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("reading the path of the control group")]
    Path { source: BadPath },
    #[error("{setting} = {value} cannot be applied: this machine has no {controller} controller for control groups")]
    NoController { controller: String, setting: String, value: String },
    #[error("{setting} = {value} cannot be applied: {why}")]
    Unsupported { setting: String, value: String, why: &'static str },
    #[error("{setting} = {value} is not valid: {why}")]
    Invalid { setting: String, value: String, why: &'static str },
}

impl PlanError {
    pub(super) fn invalid(setting: &str, value: impl ToString, why: &'static str) -> Self {
        PlanError::Invalid { setting: setting.to_owned(), value: value.to_string(), why }
    }

    pub(super) fn unsupported(setting: &str, value: impl ToString, why: &'static str) -> Self {
        PlanError::Unsupported { setting: setting.to_owned(), value: value.to_string(), why }
    }
}

impl Classified for PlanError {
    fn class(&self) -> Class {
        match self {
            PlanError::Path { .. } | PlanError::Invalid { .. } => Class::Invalid,
            PlanError::NoController { .. } | PlanError::Unsupported { .. } => Class::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PlanError::NoController { controller, .. } => Some(format!(
                "enable the {controller} controller in the kernel's configuration or command line, or leave the limit out"
            )),
            PlanError::Path { .. } | PlanError::Unsupported { .. } | PlanError::Invalid { .. } => None,
        }
    }
}

/// Plans the group at `path` with these resources; a value that is not set writes nothing.
///
/// Pure: nothing of the machine is looked at but what `layout` says. A plan for [`super::Cgroup::update`] is made from
/// the container's whole resources, old and new merged.
pub fn plan(path: &str, resources: Option<&LinuxResources>, layout: &Layout) -> Result<CgroupPlan, PlanError> {
    GroupPath::parse(path).map_err(|source| PlanError::Path { source })?;
    let mut plan = CgroupPlan { path: path.to_owned(), writes: Vec::new(), devices: None };
    let Some(resources) = resources else { return Ok(plan) };
    let mut writes = Writes { layout, list: Vec::new() };
    if layout.is_v2() {
        v2::plan(resources, &mut writes)?;
    } else {
        v1::plan(resources, &mut writes)?;
    }
    plan.writes = writes.list;
    if let Some(list) = resources.devices().as_deref().filter(|list| !list.is_empty()) {
        let rules = DeviceRules::parse(list)?;
        if !layout.is_v2() {
            rules.check_v1()?;
            if layout.with_controller("devices").is_none() {
                return Err(no_controller("devices", "devices", format!("{} rules", list.len())));
            }
        }
        plan.devices = Some(rules);
    }
    Ok(plan)
}

/// The writes of a plan in the making; refuses those for whose controller there is no tree.
pub(super) struct Writes<'a> {
    layout: &'a Layout,
    list: Vec<Write>,
}

impl Writes<'_> {
    pub(super) fn has(&self, controller: &str) -> bool {
        self.layout.with_controller(controller).is_some()
    }

    /// Adds a value whose file is `controller.name`.
    pub(super) fn add(
        &mut self,
        controller: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) -> Result<(), PlanError> {
        self.add_or(controller, file, value, IfMissing::Fail)
    }

    /// Adds a value for a file that not every kernel has.
    pub(super) fn add_or(
        &mut self,
        controller: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        if_missing: IfMissing,
    ) -> Result<(), PlanError> {
        let write = Write { controller: controller.into(), file: file.into(), value: value.to_string(), if_missing };
        if !self.has(&write.controller) {
            return Err(no_controller(&write.controller, &write.file, write.value));
        }
        self.list.push(write);
        Ok(())
    }
}

fn no_controller(controller: &str, setting: &str, value: String) -> PlanError {
    PlanError::NoController { controller: controller.to_owned(), setting: setting.to_owned(), value }
}

/// One line for the group, each write and each device rule, without a line break at the end.
impl fmt::Display for CgroupPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cgroup {}", self.path)?;
        for write in &self.writes {
            write!(f, "\ncgroup write {write}")?;
        }
        if let Some(rules) = &self.devices {
            write!(f, "\ncgroup device {} a *:* rwm", rules.base)?;
            for rule in &rules.exceptions {
                write!(f, "\ncgroup device {rule}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}", self.file, self.value)?;
        match &self.if_missing {
            IfMissing::Fail => Ok(()),
            IfMissing::Skip => f.write_str(" if the file exists"),
            IfMissing::Instead { file, value } => write!(f, " or else {file} = {value:?}"),
        }
    }
}
