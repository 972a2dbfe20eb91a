//! Links, addresses and routes, by rtnetlink(7): the bridge, and for each pod a veth pair whose one end is a port of the
//! bridge and whose other end is born inside the pod's namespace as `eth0`.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use cradle_domain::PodId;
use rustix::io::Errno;

use super::leases::Grant;
use super::limits::{CARRIER_LOOK_INTERVAL, CARRIER_LOOKS, LISTING_ATTEMPTS, REQUESTS_PER_SEND};
use crate::netlink::decode::{find, text, u32_at};
use crate::netlink::uapi::*;
use crate::netlink::{NetlinkError, Requests, Socket};

/// The alias that marks a bridge as ours to remove (`ip link` shows it).
const BRIDGE_ALIAS: &str = "cradle pod network";

/// The names of pods' ports: this, and the first digits of the pod's id, as many as the kernel's 15 bytes allow.
const PORT_PREFIX: &str = "cr";
const PORT_DIGITS: usize = 13;

/// What a pod's link is called inside it.
const POD_LINK: &str = "eth0";

/// Ethernet's payload, if the host has no default route to tell otherwise.
const MTU_DEFAULT: u32 = 1500;

/// An address that the default route leads to, if anything does. It is only looked up, nothing is sent there.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const LINK_STRUCT_BYTES: usize = 16;
const ADDRESS_STRUCT_BYTES: usize = 8;
const ROUTE_STRUCT_BYTES: usize = 12;

/// A link as the kernel describes it, as far as we look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
    pub mtu: u32,
    /// `bridge`, `veth`, …; empty for hardware.
    pub kind: String,
    alias: String,
    /// The index of a veth's other end, in its own namespace.
    peer: Option<u32>,
    /// Up, with a carrier that the kernel has noticed.
    running: bool,
    /// As a port of a bridge: whether it passes frames on.
    forwarding: bool,
}

/// An address of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostAddress {
    pub link: u32,
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Link {
    /// Whether we made this bridge.
    pub fn is_marked(&self) -> bool {
        self.alias == BRIDGE_ALIAS
    }
}

/// The host's end of a pod's veth pair. Found again by the pod's id alone, also after a crash. Ids are random, so
/// their first digits are as good as a hash.
pub fn port_name(pod: &PodId) -> String {
    format!("{PORT_PREFIX}{}", &pod.as_str()[..PORT_DIGITS])
}

/// Whether a link has the name of a pod's port.
pub fn is_port_name(name: &str) -> bool {
    let digits = name.strip_prefix(PORT_PREFIX).unwrap_or_default();
    digits.len() == PORT_DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A pod's hardware address follows from its IP address, so that what others remember of an address given out anew stays
/// true. The prefix is the one that Kubernetes' networks use, locally administered.
pub fn pod_mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// The host's end has a fixed one as well: udev would replace a random one, in the middle of the pod's start.
fn port_mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x59, a, b, c, d]
}

/// The link of that name, if there is one.
pub fn by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetlinkError> {
    let mut requests = Requests::new();
    look_up(&mut requests, name);
    one_link(socket, &requests)
}

fn by_index(socket: &mut Socket, index: u32) -> Result<Option<Link>, NetlinkError> {
    let mut requests = Requests::new();
    requests.act("look up a link", RTM_GETLINK, 0, &link_struct(index, 0, 0), |_| ());
    one_link(socket, &requests)
}

fn look_up(requests: &mut Requests, name: &str) {
    requests.act("look up a link", RTM_GETLINK, 0, &link_struct(0, 0, 0), |link| link.text(IFLA_IFNAME, name));
}

fn one_link(socket: &mut Socket, requests: &Requests) -> Result<Option<Link>, NetlinkError> {
    let mut found = None;
    match socket.query(requests, |payload| found = parse_link(payload)) {
        Err(error) if error.refusal() == Some(Errno::NODEV) => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(found),
    }
}

/// The ports of a bridge.
pub fn ports_of(socket: &mut Socket, bridge: u32) -> Result<Vec<Link>, NetlinkError> {
    listed(|| {
        let mut requests = Requests::new();
        let fixed = link_struct(0, 0, 0);
        requests.dump("list the ports of the bridge", RTM_GETLINK, &fixed, |link| link.u32(IFLA_MASTER, bridge));
        let mut ports = Vec::new();
        socket.query(&requests, |payload| ports.extend(parse_link(payload)))?;
        Ok(ports)
    })
}

/// All IPv4 addresses of the host.
pub fn host_addresses(socket: &mut Socket) -> Result<Vec<HostAddress>, NetlinkError> {
    listed(|| {
        let mut requests = Requests::new();
        requests.dump("list the host's addresses", RTM_GETADDR, &address_struct(0, 0), |_| ());
        let mut addresses = Vec::new();
        socket.query(&requests, |payload| addresses.extend(parse_address(payload)))?;
        Ok(addresses)
    })
}

/// Lists again while what is listed changes.
fn listed<T>(mut list: impl FnMut() -> Result<T, NetlinkError>) -> Result<T, NetlinkError> {
    let mut attempt = 1;
    loop {
        match list() {
            Err(NetlinkError::Interrupted { .. }) if attempt < LISTING_ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

/// The MTU of the link that the host's default route uses.
pub fn default_route_mtu(socket: &mut Socket) -> Result<u32, NetlinkError> {
    let mut requests = Requests::new();
    let fixed = route_struct(32, 0, 0, 0, 0);
    requests.act("look up the default route", RTM_GETROUTE, 0, &fixed, |route| {
        route.bytes(RTA_DST, &ELSEWHERE.octets());
    });
    let mut link = None;
    let through = |payload: &[u8]| find(payload.get(ROUTE_STRUCT_BYTES..)?, RTA_OIF).and_then(|value| u32_at(value, 0));
    match socket.query(&requests, |payload| link = through(payload)) {
        Err(error) if error.refusal().is_some() => return Ok(MTU_DEFAULT),
        result => result?,
    }
    let Some(link) = link else { return Ok(MTU_DEFAULT) };
    Ok(by_index(socket, link)?.map_or(MTU_DEFAULT, |link| link.mtu))
}

/// Makes the bridge, down and without addresses, and marks it as ours. Both happen in one send, so that a bridge of ours
/// is never without its mark.
pub fn create_bridge(socket: &mut Socket, name: &str, gateway: Ipv4Addr, mtu: u32) -> Result<(), NetlinkError> {
    let mut requests = Requests::new();
    requests.act("create the bridge", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_struct(0, 0, 0), |link| {
        link.text(IFLA_IFNAME, name);
        link.u32(IFLA_MTU, mtu);
        // Without one of its own it would take on the least of its ports', and change when pods come and go.
        link.bytes(IFLA_ADDRESS, &pod_mac(gateway));
        link.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
    });
    requests.act("mark the bridge", RTM_NEWLINK, 0, &link_struct(0, 0, 0), |link| {
        link.text(IFLA_IFNAME, name);
        link.text(IFLA_IFALIAS, BRIDGE_ALIAS);
    });
    socket.execute(&requests)
}

/// Gives the bridge addresses and sets it up.
pub fn set_up_bridge(
    socket: &mut Socket,
    index: u32,
    addresses: impl Iterator<Item = (Ipv4Addr, u8, Ipv4Addr)>,
) -> Result<(), NetlinkError> {
    let mut requests = Requests::new();
    for (gateway, prefix, broadcast) in addresses {
        add_address(&mut requests, index, gateway, prefix, broadcast);
    }
    requests.act("set the bridge up", RTM_NEWLINK, 0, &link_struct(index, IFF_UP, IFF_UP), |_| ());
    socket.execute(&requests)
}

fn add_address(requests: &mut Requests, link: u32, address: Ipv4Addr, prefix: u8, broadcast: Ipv4Addr) {
    let fixed = address_struct(prefix, link);
    requests.act("add an address", RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &fixed, |attributes| {
        attributes.bytes(IFA_LOCAL, &address.octets());
        attributes.bytes(IFA_ADDRESS, &address.octets());
        attributes.bytes(IFA_BROADCAST, &broadcast.octets());
    });
}

/// Makes the ports of pods, as far as they exist, ports of a bridge that was made anew.
pub fn join(socket: &mut Socket, bridge: u32, ports: &[String]) -> Result<(), NetlinkError> {
    for ports in ports.chunks(REQUESTS_PER_SEND) {
        let mut requests = Requests::new();
        for name in ports {
            requests.act("connect a pod's port to the bridge", RTM_NEWLINK, 0, &link_struct(0, 0, 0), |link| {
                link.text(IFLA_IFNAME, name);
                link.u32(IFLA_MASTER, bridge);
            });
            set_hairpin(&mut requests, name);
        }
        match socket.execute(&requests) {
            // A pod that is half connected, or gone with its namespace.
            Err(error) if error.refusal() == Some(Errno::NODEV) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Lets a port send frames back where they came from: a pod that reaches itself through a host port or a service needs
/// it, where the kernel has bridges pass the packet filter.
fn set_hairpin(requests: &mut Requests, port: &str) {
    requests.act("set the port's hairpin mode", RTM_NEWLINK, 0, &link_struct(0, 0, 0), |link| {
        link.text(IFLA_IFNAME, port);
        link.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_SLAVE_KIND, "bridge");
            info.nest(IFLA_INFO_SLAVE_DATA, |port| port.u8(IFLA_BRPORT_MODE, 1));
        });
    });
}

/// Removes a link, if it is there.
pub fn remove(socket: &mut Socket, index: u32) -> Result<(), NetlinkError> {
    let mut requests = Requests::new();
    requests.act("remove a link", RTM_DELLINK, 0, &link_struct(index, 0, 0), |_| ());
    match socket.execute(&requests) {
        Err(error) if error.refusal() == Some(Errno::NODEV) => Ok(()),
        result => result,
    }
}

/// Makes a pod's veth pair: one end up and a port of the bridge, the other named and addressed in the pod, still down.
pub fn create_pair(
    socket: &mut Socket,
    name: &str,
    bridge: u32,
    mtu: u32,
    address: Ipv4Addr,
    pod_namespace: BorrowedFd<'_>,
) -> Result<(), NetlinkError> {
    let mut requests = Requests::new();
    let up = link_struct(0, IFF_UP, IFF_UP);
    requests.act("create the pod's veth pair", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, |link| {
        link.text(IFLA_IFNAME, name);
        link.u32(IFLA_MTU, mtu);
        link.bytes(IFLA_ADDRESS, &port_mac(address));
        link.u32(IFLA_MASTER, bridge);
        link.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nest(IFLA_INFO_DATA, |data| {
                // The kernel refuses to make this end up: it does not know the other one yet.
                data.nest_after(VETH_INFO_PEER, &link_struct(0, 0, 0), |peer| {
                    peer.text(IFLA_IFNAME, POD_LINK);
                    peer.u32(IFLA_MTU, mtu);
                    peer.bytes(IFLA_ADDRESS, &pod_mac(address));
                    peer.bytes(IFLA_NET_NS_FD, &pod_namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
    });
    set_hairpin(&mut requests, name);
    socket.execute(&requests)
}

/// Looks on until packets pass: the pod's link, its port and the bridge have noticed their carriers.
///
/// The kernel does so a little later than it tells, in a thread of its own; until then it drops packets, and a lost first
/// packet is sent again after a second. To be asked about a link makes it notice at once, since 6.8: then this is one
/// look, first at the port, whose carrier is the bridge's.
pub fn await_carriers(
    host: &mut Socket,
    name: &str,
    bridge: u32,
    pod: &mut Socket,
    mut in_pod: Link,
) -> Result<(), NetlinkError> {
    for _ in 0..CARRIER_LOOKS {
        let mut requests = Requests::new();
        look_up(&mut requests, name);
        requests.act("look up a link", RTM_GETLINK, 0, &link_struct(bridge, 0, 0), |_| ());
        let (mut forwarding, mut running) = (false, in_pod.running);
        host.query(&requests, |payload| {
            if let Some(link) = parse_link(payload) {
                forwarding |= link.forwarding;
                running &= link.running;
            }
        })?;
        if forwarding && running {
            return Ok(());
        }
        std::thread::sleep(CARRIER_LOOK_INTERVAL);
        in_pod = self::in_pod(pod)?.unwrap_or_default();
    }
    tracing::debug!(port = name, "the kernel does not pass packets of the pod yet");
    Ok(())
}

/// The pod's own link, looked up by a socket of its namespace.
pub fn in_pod(pod: &mut Socket) -> Result<Option<Link>, NetlinkError> {
    by_name(pod, POD_LINK)
}

/// Whether these are the two ends of one pair that was not cut off.
pub fn are_connected(port: &Link, in_pod: &Link) -> bool {
    let peers = port.peer == Some(in_pod.index) && in_pod.peer == Some(port.index);
    peers && port.kind == "veth" && in_pod.kind == "veth" && port.up
}

/// Sets the pod's link up and gives it its address and the route to everywhere, by a socket of the pod's namespace.
pub fn configure_pod(pod: &mut Socket, grant: Grant) -> Result<Link, NetlinkError> {
    let mut requests = Requests::new();
    requests.act("set the pod's link up", RTM_NEWLINK, 0, &link_struct(0, IFF_UP, IFF_UP), |link| {
        link.text(IFLA_IFNAME, POD_LINK);
    });
    look_up(&mut requests, POD_LINK);
    let mut link = None;
    pod.query(&requests, |payload| link = parse_link(payload))?;
    let link = link.ok_or(NetlinkError::Unanswered { what: "look up a link" })?;
    let Grant { address, subnet } = grant;
    let mut requests = Requests::new();
    add_address(&mut requests, link.index, address, subnet.prefix(), subnet.broadcast());
    let fixed = route_struct(0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST);
    requests.act("add the default route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &fixed, |route| {
        route.bytes(RTA_GATEWAY, &subnet.gateway().octets());
        route.u32(RTA_OIF, link.index);
    });
    pod.execute(&requests)?;
    Ok(link)
}

/// Cuts a pod off: takes its port down. Returns the port's index, if it was there.
///
/// This is quick; removing the port takes the kernel 10 to 20 ms and can follow.
pub fn cut(socket: &mut Socket, name: &str) -> Result<Option<u32>, NetlinkError> {
    let mut requests = Requests::new();
    requests.act("take the pod's port down", RTM_NEWLINK, 0, &link_struct(0, 0, IFF_UP), |link| {
        link.text(IFLA_IFNAME, name);
    });
    look_up(&mut requests, name);
    one_link(socket, &requests).map(|port| port.map(|port| port.index))
}

/// `struct ifinfomsg`
fn link_struct(index: u32, flags: u32, change: u32) -> [u8; LINK_STRUCT_BYTES] {
    let mut fixed = [0; LINK_STRUCT_BYTES];
    fixed[0] = AF_UNSPEC;
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&change.to_ne_bytes());
    fixed
}

/// `struct ifaddrmsg`
fn address_struct(prefix: u8, link: u32) -> [u8; ADDRESS_STRUCT_BYTES] {
    let [a, b, c, d] = link.to_ne_bytes();
    [AF_INET, prefix, 0, RT_SCOPE_UNIVERSE, a, b, c, d]
}

/// `struct rtmsg`
fn route_struct(destination_prefix: u8, table: u8, protocol: u8, scope: u8, kind: u8) -> [u8; ROUTE_STRUCT_BYTES] {
    [AF_INET, destination_prefix, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0]
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let attributes = payload.get(LINK_STRUCT_BYTES..)?;
    let number = |kind| find(attributes, kind).and_then(|value| u32_at(value, 0));
    let info = find(attributes, IFLA_LINKINFO).unwrap_or_default();
    let slave = find(info, IFLA_INFO_SLAVE_DATA).unwrap_or_default();
    Some(Link {
        index: u32_at(payload, 4)?,
        name: find(attributes, IFLA_IFNAME).map(text)?,
        up: u32_at(payload, 8)? & IFF_UP != 0,
        mtu: number(IFLA_MTU).unwrap_or(MTU_DEFAULT),
        kind: find(info, IFLA_INFO_KIND).map(text).unwrap_or_default(),
        alias: find(attributes, IFLA_IFALIAS).map(text).unwrap_or_default(),
        peer: number(IFLA_LINK),
        running: find(attributes, IFLA_OPERSTATE) == Some(&[IF_OPER_UP]),
        forwarding: find(slave, IFLA_BRPORT_STATE) == Some(&[BR_STATE_FORWARDING]),
    })
}

fn parse_address(payload: &[u8]) -> Option<HostAddress> {
    let attributes = payload.get(ADDRESS_STRUCT_BYTES..)?;
    let octets: [u8; 4] = find(attributes, IFA_LOCAL)?.try_into().ok()?;
    let [family, prefix, ..] = *payload else { return None };
    (family == AF_INET).then_some(HostAddress { link: u32_at(payload, 4)?, address: octets.into(), prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_by_its_pod_within_the_kernels_bound() {
        let name = port_name(&PodId::from_random([0xab; 32]));
        assert_eq!(name, "crababababababa");
        assert_eq!(name.len(), 15);
        assert!(is_port_name(&name));
        for other in ["", "cr", "eth0", "cradle0", "crababababababag", "crabababababab", "crabababababababa"] {
            assert!(!is_port_name(other), "{other}");
        }
    }

    #[test]
    fn answers_cut_off_anywhere_are_no_links_and_no_panic() {
        let mut whole = Vec::new();
        Socket::open(crate::netlink::Family::Route)
            .and_then(|mut socket| {
                let mut requests = Requests::new();
                look_up(&mut requests, "lo");
                socket.query(&requests, |payload| whole = payload.to_vec())
            })
            .unwrap();
        let link = parse_link(&whole).unwrap();
        assert_eq!((link.name.as_str(), link.kind.as_str(), link.alias.as_str()), ("lo", "", ""));
        for end in 0..whole.len() {
            parse_link(&whole[..end]);
            parse_address(&whole[..end]);
        }
    }
}
