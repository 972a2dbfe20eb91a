//! Resource limits by name, number and what the machine allows.

use std::fmt;

use oci_spec::runtime::PosixRlimit;
use rustix::process::Resource;

use super::{Limit, LimitedResource, PlanError};

/// Every resource that an OCI specification can limit.
pub const RESOURCES: [(&str, Resource); 16] = [
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_STACK", Resource::Stack),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
];

/// The place of RLIMIT_NOFILE in [`RESOURCES`].
pub const OPEN_FILES: usize = 7;

/// The hard limits above which no process of ours may go, in the order of [`RESOURCES`].
pub type HardLimits = [u64; RESOURCES.len()];

/// Stands for "no limit" (RLIM_INFINITY).
pub const UNLIMITED: u64 = u64::MAX;

impl LimitedResource {
    pub fn resource(self) -> Resource {
        RESOURCES[usize::from(self.0)].1
    }
}

impl fmt::Display for LimitedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RESOURCES[usize::from(self.0)].0)
    }
}

/// The limit asked for, within what the machine allows.
pub fn plan(asked: &PosixRlimit, allowed: &HardLimits) -> Result<Limit, PlanError> {
    let name = asked.typ().to_string();
    let invalid = |problem| PlanError::Invalid { field: "process.rlimits", value: name.clone(), problem };
    let place = RESOURCES.iter().position(|(known, _)| *known == name).ok_or_else(|| invalid("is unknown"))?;
    if asked.soft() > asked.hard() {
        return Err(invalid("has a soft limit above the hard one"));
    }
    let bound = allowed[place];
    let resource = LimitedResource(u8::try_from(place).map_err(|_| invalid("is unknown"))?);
    Ok(Limit { resource, soft: asked.soft().min(bound), hard: asked.hard().min(bound) })
}

/// No limits, but on open files.
pub fn highest(open_files_max: u64) -> HardLimits {
    let mut limits = [UNLIMITED; RESOURCES.len()];
    limits[OPEN_FILES] = open_files_max;
    limits
}

/// The hard limits of this process.
pub fn own_hard_limits() -> HardLimits {
    RESOURCES.map(|(_, resource)| rustix::process::getrlimit(resource).maximum.unwrap_or(UNLIMITED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{PosixRlimitBuilder, PosixRlimitType};

    fn asked(typ: PosixRlimitType, soft: u64, hard: u64) -> PosixRlimit {
        PosixRlimitBuilder::default().typ(typ).soft(soft).hard(hard).build().unwrap()
    }

    #[test]
    fn a_limit_above_what_the_machine_allows_is_lowered() {
        let files = asked(PosixRlimitType::RlimitNofile, 900, 5000);
        let planned = plan(&files, &highest(1000)).unwrap();
        assert_eq!((planned.resource.to_string().as_str(), planned.soft, planned.hard), ("RLIMIT_NOFILE", 900, 1000));
        assert_eq!(plan(&files, &highest(1 << 20)).unwrap().hard, 5000);
    }

    #[test]
    fn every_resource_of_the_specification_is_known() {
        use PosixRlimitType::*;
        for typ in [
            RlimitCpu,
            RlimitFsize,
            RlimitData,
            RlimitStack,
            RlimitCore,
            RlimitRss,
            RlimitNproc,
            RlimitNofile,
            RlimitMemlock,
            RlimitAs,
            RlimitLocks,
            RlimitSigpending,
            RlimitMsgqueue,
            RlimitNice,
            RlimitRtprio,
            RlimitRttime,
        ] {
            assert_eq!(plan(&asked(typ, 1, 2), &highest(1)).unwrap().resource.to_string(), typ.to_string());
        }
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_is_refused() {
        assert!(plan(&asked(PosixRlimitType::RlimitCore, 2, 1), &highest(1)).is_err());
    }
}
