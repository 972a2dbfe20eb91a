//! IPv4 subnets that pods get their addresses from.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use cradle_domain::{Class, Classified};

/// The shortest prefix: 16 million addresses.
const PREFIX_MIN: u8 = 8;
/// The longest prefix: network, gateway, one pod, broadcast.
const PREFIX_MAX: u8 = 30;

/// A subnet such as `10.88.0.0/16`. Its first address is the gateway's, on the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

/// Text that is not a subnet for pods.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubnetError {
    #[error("{text:?} is not a subnet: expected an address and a prefix length, as in 10.88.0.0/16")]
    Malformed { text: String },
    #[error("subnet {text}: the built-in pod network has no IPv6 yet")]
    Ipv6 { text: String },
    #[error("subnet {text} has bits set behind its prefix")]
    HostBits { text: String, network: Subnet },
    #[error("subnet {text} is too small: the longest prefix is /{PREFIX_MAX}, which has room for one pod")]
    TooSmall { text: String },
    #[error("subnet {text} is too large: the shortest prefix is /{PREFIX_MIN}")]
    TooLarge { text: String },
    #[error("subnet {text} holds addresses that no pod can have (0/8, 127/8, 169.254/16, 224/3)")]
    Unusable { text: String },
}

impl Classified for SubnetError {
    fn class(&self) -> Class {
        match self {
            SubnetError::Ipv6 { .. } => Class::Unimplemented,
            _ => Class::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SubnetError::HostBits { network, .. } => Some(format!("did you mean {network}?")),
            SubnetError::Ipv6 { .. } => Some("configure IPv4 subnets only".into()),
            _ => None,
        }
    }
}

impl Subnet {
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The address of the bridge, which pods route through.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 1)
    }

    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) | !self.mask())
    }

    /// The number of addresses for pods: all but network, gateway and broadcast.
    pub fn capacity(self) -> u32 {
        !self.mask() - 2
    }

    /// The address of the pod that is `nth` in order, counted from 0, if there is one.
    pub fn pod(self, nth: u32) -> Option<Ipv4Addr> {
        (nth < self.capacity()).then(|| Ipv4Addr::from(u32::from(self.network) + 2 + nth))
    }

    /// The position of a pod's address, the inverse of [`Subnet::pod`].
    pub fn position(self, address: Ipv4Addr) -> Option<u32> {
        let nth = u32::from(address).checked_sub(u32::from(self.network) + 2)?;
        (nth < self.capacity()).then_some(nth)
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.network)
    }

    pub fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - self.prefix)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let shown = || text.chars().take(64).collect::<String>();
        let malformed = || SubnetError::Malformed { text: shown() };
        let (address, prefix) = text.split_once('/').ok_or_else(malformed)?;
        if address.parse::<Ipv6Addr>().is_ok() {
            return Err(SubnetError::Ipv6 { text: shown() });
        }
        let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
        let prefix: u8 = prefix.parse().map_err(|_| malformed())?;
        match prefix {
            0..PREFIX_MIN => return Err(SubnetError::TooLarge { text: shown() }),
            PREFIX_MIN..=PREFIX_MAX => {}
            31 | 32 => return Err(SubnetError::TooSmall { text: shown() }),
            _ => return Err(malformed()),
        }
        let bits = u32::from(address);
        let subnet = Subnet { network: Ipv4Addr::from(bits & (u32::MAX << (32 - prefix))), prefix };
        if subnet.network != address {
            return Err(SubnetError::HostBits { text: shown(), network: subnet });
        }
        let link_local = Subnet { network: Ipv4Addr::new(169, 254, 0, 0), prefix: 16 };
        match address.octets()[0] {
            0 | 127 | 224.. => Err(SubnetError::Unusable { text: shown() }),
            _ if subnet.overlaps(link_local) => Err(SubnetError::Unusable { text: shown() }),
            _ => Ok(subnet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn only_subnets_that_pods_can_use_are_accepted() {
        for good in ["10.88.0.0/16", "10.0.0.0/8", "192.168.7.4/30", "203.0.113.0/24"] {
            assert_eq!(subnet(good).to_string(), good);
        }
        for (bad, word) in [
            ("", "is not a subnet"),
            ("10.88.0.0", "is not a subnet"),
            ("10.88.0/16", "is not a subnet"),
            ("10.88.0.0/33", "is not a subnet"),
            ("10.88.0.0/-1", "is not a subnet"),
            ("fd00::/64", "no IPv6 yet"),
            ("10.88.0.1/16", "bits set behind"),
            ("10.88.0.0/31", "too small"),
            ("10.88.0.0/32", "too small"),
            ("8.0.0.0/7", "too large"),
            ("127.1.0.0/16", "no pod can have"),
            ("224.0.0.0/8", "no pod can have"),
            ("169.254.8.0/24", "no pod can have"),
            ("0.0.0.0/8", "no pod can have"),
        ] {
            let error = bad.parse::<Subnet>().unwrap_err();
            assert!(error.to_string().contains(word), "{bad}: {error}");
        }
        assert_eq!("10.88.0.1/16".parse::<Subnet>().unwrap_err().hint().as_deref(), Some("did you mean 10.88.0.0/16?"));
        assert_eq!("fd00::/64".parse::<Subnet>().unwrap_err().class(), Class::Unimplemented);
    }

    #[test]
    fn network_gateway_and_broadcast_are_no_pods() {
        let small = subnet("10.0.0.8/29");
        let pods: Vec<Ipv4Addr> = (0..).map_while(|nth| small.pod(nth)).collect();
        assert_eq!(pods, [10, 11, 12, 13, 14].map(|last| Ipv4Addr::new(10, 0, 0, last)));
        assert_eq!(small.gateway(), Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(small.broadcast(), Ipv4Addr::new(10, 0, 0, 15));
        assert_eq!(pods.iter().filter_map(|pod| small.position(*pod)).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        for none in [[10, 0, 0, 7], [10, 0, 0, 8], [10, 0, 0, 9], [10, 0, 0, 15], [10, 0, 0, 16]] {
            assert_eq!(small.position(none.into()), None, "{none:?}");
        }
    }

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        let (wide, inner, beside) = (subnet("10.0.0.0/8"), subnet("10.88.0.0/16"), subnet("10.89.0.0/16"));
        assert!(wide.overlaps(inner) && inner.overlaps(wide) && inner.overlaps(inner));
        assert!(!inner.overlaps(beside) && !beside.overlaps(inner));
    }
}
