//! Capabilities as sets of bits: computed from the specification and what the machine grants, never inherited.

use std::fmt;

use oci_spec::runtime::{Capabilities, LinuxCapabilities};
use serde::{Deserialize, Serialize};

/// Names by number (linux/capability.h), without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities: bit `n` stands for capability number `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    pub const SYS_ADMIN: CapabilitySet = CapabilitySet(1 << 21);
    pub const SYS_RESOURCE: CapabilitySet = CapabilitySet(1 << 24);

    /// All that have a name here.
    pub const fn all() -> Self {
        CapabilitySet((1 << NAMES.len()) - 1)
    }

    pub fn contains(self, other: CapabilitySet) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub fn and(self, other: CapabilitySet) -> Self {
        CapabilitySet(self.0 & other.0)
    }

    #[must_use]
    pub fn without(self, other: CapabilitySet) -> Self {
        CapabilitySet(self.0 & !other.0)
    }

    /// The numbers in it, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |number| self.0 & (1 << number) != 0)
    }

    /// The names in it, as `CAP_CHOWN`; those without a name are left out.
    pub fn names(self) -> Vec<String> {
        let known = self.numbers().filter_map(|number| NAMES.get(number as usize));
        known.map(|name| format!("CAP_{name}")).collect()
    }

    /// What an OCI specification lists. A capability without a name here is none that a kernel could grant us.
    fn from_oci(listed: Option<&Capabilities>) -> Self {
        listed.into_iter().flatten().fold(CapabilitySet(0), |set, capability| {
            let name = capability.to_string();
            let number = NAMES.iter().position(|known| *known == name);
            CapabilitySet(set.0 | number.map_or(0, |number| 1 << number))
        })
    }
}

/// `all`, `none`, `all but …` or the names in the order of their numbers.
impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |set: CapabilitySet| {
            let name = |number: u32| match NAMES.get(number as usize) {
                Some(name) => (*name).to_owned(),
                None => number.to_string(),
            };
            set.numbers().map(name).collect::<Vec<_>>().join(" ")
        };
        let missing = Self::all().without(*self);
        match () {
            () if self.0 == 0 => f.write_str("none"),
            () if missing.0 == 0 => f.write_str("all"),
            () if missing.0.count_ones() < 8 => write!(f, "all but {}", names(missing)),
            () => f.write_str(&names(*self)),
        }
    }
}

/// The five sets of a process (capabilities(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    pub bounding: CapabilitySet,
    pub effective: CapabilitySet,
    pub permitted: CapabilitySet,
    pub inheritable: CapabilitySet,
    pub ambient: CapabilitySet,
}

impl CapabilitySets {
    /// What the specification asks for, within what the machine grants. What the kernel would refuse as a whole is
    /// narrowed: nothing is effective that is not permitted, nothing inheritable that is not in the bounding set, nothing ambient that is not permitted and
    /// inheritable.
    pub fn plan(asked: Option<&LinuxCapabilities>, granted: CapabilitySet) -> Self {
        let set = |listed: Option<&Capabilities>| CapabilitySet::from_oci(listed).and(granted);
        let Some(asked) = asked else { return CapabilitySets::default() };
        let permitted = set(asked.permitted().as_ref());
        let bounding = set(asked.bounding().as_ref());
        let inheritable = set(asked.inheritable().as_ref()).and(bounding);
        CapabilitySets {
            bounding,
            effective: set(asked.effective().as_ref()).and(permitted),
            permitted,
            inheritable,
            ambient: set(asked.ambient().as_ref()).and(permitted).and(inheritable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    use oci_spec::runtime::{Capability, LinuxCapabilitiesBuilder};

    #[test]
    fn every_name_is_one_of_the_specification() {
        for (number, name) in NAMES.iter().enumerate() {
            let capability = Capability::from_str(name).unwrap();
            let set = CapabilitySet::from_oci(Some(&Capabilities::from([capability])));
            assert_eq!(set, CapabilitySet(1 << number), "{name}");
        }
    }

    #[test]
    fn what_the_machine_does_not_grant_is_in_no_set() {
        let all: Capabilities = NAMES.iter().map(|name| Capability::from_str(name).unwrap()).collect();
        let asked = LinuxCapabilitiesBuilder::default()
            .bounding(all.clone())
            .effective(all.clone())
            .permitted(all.clone())
            .inheritable(all.clone())
            .ambient(all)
            .build()
            .unwrap();
        let granted = CapabilitySet::all().without(CapabilitySet::SYS_RESOURCE);
        let sets = CapabilitySets::plan(Some(&asked), granted);
        for set in [sets.bounding, sets.effective, sets.permitted, sets.inheritable, sets.ambient] {
            assert_eq!(set.to_string(), "all but SYS_RESOURCE");
        }
    }

    #[test]
    fn sets_are_narrowed_to_what_the_kernel_accepts() {
        let chown = Capabilities::from([Capability::Chown]);
        let kill = Capabilities::from([Capability::Kill]);
        let asked = LinuxCapabilitiesBuilder::default().permitted(chown.clone()).effective(kill).ambient(chown);
        let sets = CapabilitySets::plan(Some(&asked.build().unwrap()), CapabilitySet::all());
        assert_eq!((sets.effective.to_string(), sets.ambient.to_string()), ("none".into(), "none".into()));
        assert_eq!(CapabilitySets::plan(None, CapabilitySet::all()), CapabilitySets::default());
    }
}
