//! skeleton
use std::borrow::Cow;
use std::fmt;

use super::Layout;

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CgroupPlan {
    pub path: String,
    pub writes: Vec<Write>,
    pub devices: Vec<DeviceRule>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Write {
    pub controller: Cow<'static, str>,
    pub file: Cow<'static, str>,
    pub value: String,
    pub if_missing: IfMissing,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum IfMissing {
    Fail,
    Skip,
    Instead { file: Cow<'static, str>, value: String },
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceRule {
    pub allow: bool,
}

impl fmt::Display for CgroupPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cgroup {}", self.path)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("skeleton")]
pub struct PlanError;

impl cradle_domain::Classified for PlanError {
    fn class(&self) -> cradle_domain::Class {
        cradle_domain::Class::Invalid
    }
}

pub fn plan(path: &str, resources: Option<&oci_spec::runtime::LinuxResources>, layout: &Layout) -> Result<CgroupPlan, PlanError> {
    let _ = (path, resources, layout);
    unimplemented!()
}
