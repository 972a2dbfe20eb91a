//! Makes what all pods share, the bridge and the table, when the first pod needs it, and removes it after the last.

use std::net::Ipv4Addr;

use cradle_domain::{Class, Classified};
use rustix::io::Errno;

use super::link::{self, HostAddress, Link};
use super::subnet::Subnet;
use super::sysctl::{self, Set, SysctlError};
use super::{Network, Shared};
use crate::netlink::{Family, NetlinkError, Socket};

/// Why the bridge or the table cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("cannot look at the bridge {bridge}")]
    Inspect { bridge: String, source: NetlinkError },
    #[error("there is a link {bridge}, and it is no bridge but a {kind}")]
    NotABridge { bridge: String, kind: String },
    #[error("there is a bridge {bridge} that is not ours, and it has not the address {gateway}")]
    Foreign { bridge: String, gateway: String },
    #[error("the subnet {subnet} holds the address {address} of the host's link number {link}")]
    AddressTaken { subnet: Subnet, address: Ipv4Addr, link: u32 },
    #[error("cannot make the bridge {bridge}")]
    Create { bridge: String, source: NetlinkError },
    #[error("cannot prepare the host's network")]
    Sysctl { source: SysctlError },
    #[error("cannot make the nf_tables table of the bridge {bridge}")]
    Table { bridge: String, source: NetlinkError },
}

impl Classified for SetupError {
    fn class(&self) -> Class {
        match self {
            SetupError::NotABridge { .. } | SetupError::Foreign { .. } | SetupError::AddressTaken { .. } => {
                Class::Conflict
            }
            SetupError::Inspect { source, .. } | SetupError::Create { source, .. } => source.class(),
            SetupError::Table { source, .. } => match source.refusal() {
                // So it says that it does not know an expression or a type of chains.
                Some(Errno::NOENT) => Class::Unimplemented,
                _ => source.class(),
            },
            SetupError::Sysctl { source } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SetupError::NotABridge { .. } => Some("configure another name for the bridge".into()),
            SetupError::Foreign { gateway, .. } => {
                Some(format!("configure another name for the bridge, or give that one the address {gateway}"))
            }
            SetupError::AddressTaken { .. } => Some("configure another subnet".into()),
            SetupError::Table { .. } if self.class() == Class::Unimplemented => {
                Some("the kernel needs nf_tables with the expressions nat, masq, fib and ct for IPv4".into())
            }
            SetupError::Inspect { source, .. }
            | SetupError::Create { source, .. }
            | SetupError::Table { source, .. } => source.hint(),
            SetupError::Sysctl { source } => source.hint(),
        }
    }
}

/// Why what is shared cannot be removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove the bridge {bridge} or its nf_tables table")]
pub struct RemoveError {
    bridge: String,
    source: NetlinkError,
}

impl Network {
    /// Whether the bridge and its subnets can be had on this host; changes nothing.
    pub(super) fn inspect(&self, socket: &mut Socket) -> Result<Option<Link>, SetupError> {
        let bridge = || self.config.bridge.clone();
        let failed = |source| SetupError::Inspect { bridge: bridge(), source };
        let found = link::by_name(socket, &self.config.bridge).map_err(failed)?;
        if let Some(found) = found.as_ref().filter(|found| found.kind != "bridge") {
            let kind = if found.kind.is_empty() { "physical link" } else { &found.kind };
            return Err(SetupError::NotABridge { bridge: bridge(), kind: kind.to_owned() });
        }
        let addresses = link::host_addresses(socket).map_err(failed)?;
        let index = found.as_ref().map(|found| found.index);
        let foreign = found.as_ref().is_some_and(|found| !found.is_marked());
        for subnet in &self.config.subnets {
            match judge(*subnet, index, &addresses) {
                Verdict::Taken(other) => {
                    return Err(SetupError::AddressTaken { subnet: *subnet, address: other.address, link: other.link });
                }
                Verdict::Missing if foreign => {
                    let gateway = format!("{}/{}", subnet.gateway(), subnet.prefix());
                    return Err(SetupError::Foreign { bridge: bridge(), gateway });
                }
                Verdict::Missing | Verdict::Present => {}
            }
        }
        Ok(found)
    }

    /// Makes whatever is missing of the bridge, and the table anew: it may be that of an older version or configuration.
    pub(super) fn set_up(&self) -> Result<Shared, SetupError> {
        let bridge = || self.config.bridge.clone();
        let inspected = |source| SetupError::Inspect { bridge: bridge(), source };
        let failed = |source| SetupError::Create { bridge: bridge(), source };
        let sysctl = |source| SetupError::Sysctl { source };
        let mut socket = Socket::open(Family::Route).map_err(inspected)?;
        let found = self.inspect(&mut socket)?;
        let mtu = match self.config.mtu {
            Some(mtu) => mtu,
            None => link::default_route_mtu(&mut socket).map_err(inspected)?,
        };
        let found = match found {
            Some(found) => found,
            None => self.create_bridge(&mut socket, mtu).map_err(failed)?,
        };
        if found.is_marked() {
            sysctl::disable_ipv6(&self.config.bridge).map_err(sysctl)?;
        }
        let addresses =
            self.config.subnets.iter().map(|subnet| (subnet.gateway(), subnet.prefix(), subnet.broadcast()));
        link::set_up_bridge(&mut socket, found.index, addresses).map_err(failed)?;
        if sysctl::forward_ipv4().map_err(sysctl)? == Set::Now {
            tracing::info!(
                bridge = self.config.bridge,
                "switched net.ipv4.ip_forward on: pods need it to reach other networks"
            );
        }
        let open = self.leases.open_ports();
        self.table().replace(&open).map_err(|source| SetupError::Table { bridge: bridge(), source })?;
        Ok(Shared { bridge: found.index, mtu })
    }

    /// Makes the bridge, with the ports of the pods that are there: somebody may have removed it under them.
    fn create_bridge(&self, socket: &mut Socket, mtu: u32) -> Result<Link, NetlinkError> {
        let gateway = self.config.subnets.first().map_or(Ipv4Addr::UNSPECIFIED, |subnet| subnet.gateway());
        link::create_bridge(socket, &self.config.bridge, gateway, mtu)?;
        let bridge = link::by_name(socket, &self.config.bridge)?;
        let bridge = bridge.ok_or(NetlinkError::Unanswered { what: "create the bridge" })?;
        let ports: Vec<String> = self.leases.owners().iter().map(link::port_name).collect();
        link::join(socket, bridge.index, &ports)?;
        Ok(bridge)
    }

    /// Removes the bridge and the table if no pod holds an address. A bridge stays that is not ours, or has ports that are
    /// no pods'. Ports of pods that were not cut off are another daemon's, which was given the same bridge: all stays.
    pub(super) fn remove_if_unused(&self) -> Result<(), RemoveError> {
        let mut shared = self.shared_for_change();
        if !self.leases.is_empty() {
            return Ok(());
        }
        *shared = None;
        self.remove_shared().map_err(|source| RemoveError { bridge: self.config.bridge.clone(), source })
    }

    fn remove_shared(&self) -> Result<(), NetlinkError> {
        let mut socket = Socket::open(Family::Route)?;
        let bridge = link::by_name(&mut socket, &self.config.bridge)?.filter(|link| link.kind == "bridge");
        let mut ports = match &bridge {
            Some(bridge) => link::ports_of(&mut socket, bridge.index)?,
            None => Vec::new(),
        };
        let mut serves_others = false;
        ports.retain(|port| {
            let pods = link::is_port_name(&port.name);
            serves_others |= !pods;
            pods
        });
        if ports.iter().any(|port| port.up) {
            tracing::warn!(bridge = self.config.bridge, "the bridge has ports of pods that we do not know: it stays");
            return Ok(());
        }
        self.table().remove()?;
        for cut_off in ports {
            link::remove(&mut socket, cut_off.index)?;
        }
        match bridge.filter(|bridge| bridge.is_marked() && !serves_others) {
            Some(bridge) => link::remove(&mut socket, bridge.index),
            None => Ok(()),
        }
    }
}

/// How a subnet stands among the host's addresses.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The gateway's address is on the bridge.
    Present,
    Missing,
    /// Another link has an address of the subnet.
    Taken(HostAddress),
}

fn judge(subnet: Subnet, bridge: Option<u32>, addresses: &[HostAddress]) -> Verdict {
    let on_bridge = |address: &HostAddress| Some(address.link) == bridge;
    if let Some(other) = addresses.iter().find(|address| !on_bridge(address) && subnet.contains(address.address)) {
        return Verdict::Taken(*other);
    }
    let gateway = |address: &&HostAddress| address.address == subnet.gateway() && address.prefix == subnet.prefix();
    match addresses.iter().filter(|address| on_bridge(address)).find(gateway) {
        Some(_) => Verdict::Present,
        None => Verdict::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_present_missing_or_taken_by_another_link() {
        let subnet: Subnet = "10.88.0.0/16".parse().unwrap();
        let address = |link, text: &str, prefix| HostAddress { link, address: text.parse().unwrap(), prefix };
        let (bridge, other) = (7, 2);
        let taken = address(other, "10.88.3.4", 24);
        for (addresses, expected) in [
            (vec![], Verdict::Missing),
            (vec![address(bridge, "10.88.0.1", 16)], Verdict::Present),
            (vec![address(bridge, "10.88.0.1", 24)], Verdict::Missing),
            (vec![address(bridge, "10.88.0.2", 16)], Verdict::Missing),
            (vec![address(other, "10.0.0.5", 8)], Verdict::Missing),
            (vec![address(bridge, "10.88.0.1", 16), taken], Verdict::Taken(taken)),
        ] {
            assert_eq!(judge(subnet, Some(bridge), &addresses), expected, "{addresses:?}");
        }
        let gateway = address(other, "10.88.0.1", 16);
        assert_eq!(judge(subnet, None, &[gateway]), Verdict::Taken(gateway));
    }
}
