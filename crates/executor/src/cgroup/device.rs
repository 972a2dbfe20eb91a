//! Which devices the processes of a group may open and make: an ordered list of rules, as the OCI specification has it.
//!
//! For each kind of access the last rule that matches a device decides. cgroup v1 knows only a base and exceptions to
//! it, so the list is kept in that form: what comes before a rule for everything is forgotten.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use serde::{Deserialize, Serialize};

use super::limits::DEVICE_RULES_MAX;
use super::plan::PlanError;

/// Whether something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    Block,
    Character,
}

/// Kinds of access, in the bits that the kernel's device programs use (linux/bpf.h, BPF_DEVCG_ACC_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access(u8);

impl Access {
    pub const MKNOD: Access = Access(1);
    pub const READ: Access = Access(2);
    pub const WRITE: Access = Access(4);
    pub const ALL: Access = Access(7);

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    /// Reads a combination of `r`, `w` and `m`. Left out, it means all of them.
    fn parse(text: Option<&str>) -> Result<Self, PlanError> {
        let text = text.unwrap_or("rwm");
        let bit = |letter| match letter {
            'r' => Some(Access::READ.0),
            'w' => Some(Access::WRITE.0),
            'm' => Some(Access::MKNOD.0),
            _ => None,
        };
        let bits = text.chars().try_fold(0, |bits, letter| Some(bits | bit(letter)?));
        match bits {
            Some(bits) if bits != 0 => Ok(Access(bits)),
            _ => Err(PlanError::invalid("devices.access", text, "it is a combination of r, w and m")),
        }
    }
}

/// One exception from what holds for all devices. No number means every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub verdict: Verdict,
    pub kind: DeviceKind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

/// What holds for all devices, and the exceptions in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRules {
    pub base: Verdict,
    pub exceptions: Vec<DeviceRule>,
}

/// Devices that every container has (OCI config-linux, Default Devices), pseudo terminals, and mknod of anything:
/// a node that is made cannot be opened for that.
const DEFAULT_DEVICES: [DeviceRule; 11] = [
    device(DeviceKind::Character, None, None, Access::MKNOD),
    device(DeviceKind::Block, None, None, Access::MKNOD),
    device(DeviceKind::Character, Some(1), Some(3), Access::ALL), // /dev/null
    device(DeviceKind::Character, Some(1), Some(5), Access::ALL), // /dev/zero
    device(DeviceKind::Character, Some(1), Some(7), Access::ALL), // /dev/full
    device(DeviceKind::Character, Some(1), Some(8), Access::ALL), // /dev/random
    device(DeviceKind::Character, Some(1), Some(9), Access::ALL), // /dev/urandom
    device(DeviceKind::Character, Some(5), Some(0), Access::ALL), // /dev/tty
    device(DeviceKind::Character, Some(5), Some(1), Access::ALL), // /dev/console
    device(DeviceKind::Character, Some(5), Some(2), Access::ALL), // /dev/ptmx
    device(DeviceKind::Character, Some(136), None, Access::ALL),  // /dev/pts/*
];

const fn device(kind: DeviceKind, major: Option<u32>, minor: Option<u32>, access: Access) -> DeviceRule {
    DeviceRule { verdict: Verdict::Allow, kind, major, minor, access }
}

impl DeviceRules {
    /// Reads the list of a specification and adds the default devices. Without a rule for everything at its beginning
    /// a list denies what it does not name.
    pub(super) fn parse(list: &[LinuxDeviceCgroup]) -> Result<Self, PlanError> {
        if list.len() > DEVICE_RULES_MAX {
            return Err(PlanError::invalid("devices", list.len(), "there are too many rules"));
        }
        let mut rules = DeviceRules { base: Verdict::Deny, exceptions: Vec::with_capacity(list.len() + 11) };
        for rule in list {
            rules.push(rule)?;
        }
        if rules.base == Verdict::Deny || !rules.exceptions.is_empty() {
            rules.exceptions.extend(DEFAULT_DEVICES);
        }
        Ok(rules)
    }

    fn push(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), PlanError> {
        let verdict = if rule.allow() { Verdict::Allow } else { Verdict::Deny };
        let (major, minor) = (number("major", rule.major(), 12)?, number("minor", rule.minor(), 20)?);
        let access = Access::parse(rule.access().as_deref().filter(|text| !text.is_empty()))?;
        let kinds: &[DeviceKind] = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::A => &[DeviceKind::Character, DeviceKind::Block],
            LinuxDeviceType::B => &[DeviceKind::Block],
            LinuxDeviceType::C | LinuxDeviceType::U => &[DeviceKind::Character],
            LinuxDeviceType::P => {
                return Err(PlanError::invalid("devices.type", "p", "a fifo is no device"));
            }
        };
        if kinds.len() == 2 && major.is_none() && minor.is_none() && access == Access::ALL {
            self.base = verdict;
            self.exceptions.clear();
            return Ok(());
        }
        self.exceptions.extend(kinds.iter().map(|&kind| DeviceRule { verdict, kind, major, minor, access }));
        Ok(())
    }

    /// cgroup v1 cannot take a part out of an exception that it was given, and ignores the wish in silence.
    pub(super) fn check_v1(&self) -> Result<(), PlanError> {
        for (at, rule) in self.exceptions.iter().enumerate().filter(|(_, rule)| rule.verdict == self.base) {
            let earlier = &self.exceptions[..at];
            if earlier
                .iter()
                .any(|other| other.verdict != rule.verdict && other.overlaps(rule) && !other.same_device(rule))
            {
                let why = "cgroup v1 cannot take a part out of an earlier rule with a wider range of devices";
                return Err(PlanError::invalid("devices", rule, why));
            }
        }
        Ok(())
    }
}

impl DeviceRule {
    fn overlaps(&self, other: &DeviceRule) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
            && self.access.0 & other.access.0 != 0
    }

    fn same_device(&self, other: &DeviceRule) -> bool {
        self.major == other.major && self.minor == other.minor
    }

    /// The rule as `devices.allow` and `devices.deny` of cgroup v1 read it: `c 1:3 rwm`.
    pub(super) fn v1_line(&self) -> String {
        let kind = match self.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Character => 'c',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        format!("{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// A device number of at most `bits` bits; -1 means every number.
fn number(name: &str, value: Option<i64>, bits: u32) -> Result<Option<u32>, PlanError> {
    match value {
        None | Some(-1) => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) if number < 1 << bits => Ok(Some(number)),
            _ => Err(PlanError::invalid(&format!("devices.{name}"), number, "no device has such a number")),
        },
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (access, letter) in [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")] {
            if self.0 & access.0 != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        })
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verdict, self.v1_line())
    }
}
