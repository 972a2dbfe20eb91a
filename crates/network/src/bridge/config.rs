//! The configuration of the built-in pod network, and what is wrong with it.

use std::path::PathBuf;

use cradle_domain::{Class, Classified};

use super::limits::SUBNETS_MAX;
use super::subnet::Subnet;

/// The kernel's bound on a link's name (`IFNAMSIZ`, less the zero byte).
const LINK_NAME_BYTES_MAX: usize = 15;

/// Ethernet's least for IPv4 (RFC 791), and the most that veth accepts.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 576..=65_535;

/// How pods are connected.
#[derive(Debug, Clone)]
pub struct BridgeConfig {
    /// The name of the bridge; created when the first pod needs it.
    pub bridge: String,
    /// Where pods' addresses come from, tried in this order.
    pub subnets: Vec<Subnet>,
    /// The folder of the leases.
    pub leases_dir: PathBuf,
    /// The MTU of the pods' links; none: that of the link with the host's default route.
    pub mtu: Option<u32>,
    /// Whether what pods send elsewhere carries the host's address.
    pub masquerade: bool,
    /// Names this boot of the machine: leases of another are void.
    pub boot_id: String,
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("bridge name {name:?} is longer than {LINK_NAME_BYTES_MAX} bytes")]
    NameTooLong { name: String },
    #[error("bridge name {name:?} is not one: expected letters, digits, '-', '_' and '.'")]
    NameMalformed { name: String },
    #[error("the bridge {bridge} has no subnet")]
    NoSubnet { bridge: String },
    #[error("the bridge {bridge} has {count} subnets, more than {SUBNETS_MAX}")]
    TooManySubnets { bridge: String, count: usize },
    #[error("subnets {first} and {second} overlap")]
    Overlap { first: Subnet, second: Subnet },
    #[error("an MTU of {mtu} is outside {} to {}", MTU_RANGE.start(), MTU_RANGE.end())]
    Mtu { mtu: u32 },
    #[error("the boot id {boot_id:?} is not one")]
    BootId { boot_id: String },
}

impl Classified for ConfigError {
    fn class(&self) -> Class {
        Class::Invalid
    }
}

impl BridgeConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let name = || self.bridge.clone();
        let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if self.bridge.len() > LINK_NAME_BYTES_MAX {
            return Err(ConfigError::NameTooLong { name: name() });
        }
        // The last two are taken in /proc/sys/net/ipv4/conf.
        if matches!(self.bridge.as_str(), "" | "." | ".." | "all" | "default") || !self.bridge.bytes().all(name_byte) {
            return Err(ConfigError::NameMalformed { name: name() });
        }
        match self.subnets.len() {
            0 => return Err(ConfigError::NoSubnet { bridge: name() }),
            count if count > SUBNETS_MAX => return Err(ConfigError::TooManySubnets { bridge: name(), count }),
            _ => {}
        }
        for (at, first) in self.subnets.iter().enumerate() {
            if let Some(second) = self.subnets[at + 1..].iter().find(|second| first.overlaps(**second)) {
                return Err(ConfigError::Overlap { first: *first, second: *second });
            }
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !MTU_RANGE.contains(mtu)) {
            return Err(ConfigError::Mtu { mtu });
        }
        // It names a folder.
        if self.boot_id.is_empty() || !self.boot_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(ConfigError::BootId { boot_id: self.boot_id.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut BridgeConfig)) -> Result<(), String> {
        let mut config = BridgeConfig {
            bridge: "cradle0".into(),
            subnets: vec!["10.88.0.0/16".parse().unwrap()],
            leases_dir: "/nowhere".into(),
            mtu: None,
            masquerade: true,
            boot_id: "6f2c0f9e-0000".into(),
        };
        change(&mut config);
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let subnet = |text: &str| text.parse::<Subnet>().unwrap();
        assert_eq!(config(|_| ()), Ok(()));
        assert_eq!(config(|config| config.bridge = "a".repeat(15)), Ok(()));
        type Change = Box<dyn FnOnce(&mut BridgeConfig)>;
        let cases: [(Change, &str); 11] = [
            (Box::new(|c| c.bridge = "a".repeat(16)), "longer than 15"),
            (Box::new(|c| c.bridge = String::new()), "is not one"),
            (Box::new(|c| c.bridge = "br/0".into()), "is not one"),
            (Box::new(|c| c.bridge = "br%d".into()), "is not one"),
            (Box::new(|c| c.bridge = "..".into()), "is not one"),
            (Box::new(|c| c.bridge = "all".into()), "is not one"),
            (Box::new(|c| c.subnets.clear()), "has no subnet"),
            (Box::new(move |c| c.subnets.push(subnet("10.88.7.0/24"))), "10.88.0.0/16 and 10.88.7.0/24 overlap"),
            (Box::new(|c| c.subnets = vec![c.subnets[0]; 17]), "more than 16"),
            (Box::new(|c| c.mtu = Some(100)), "outside 576 to 65535"),
            (Box::new(|c| c.boot_id = "../x".into()), "boot id"),
        ];
        for (change, text) in cases {
            let error = config(change).unwrap_err();
            assert!(error.contains(text), "{error} should say {text}");
        }
    }
}
