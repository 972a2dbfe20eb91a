//! The packet filter's part, in a table of our own, by nf_tables' netlink interface. `nft list table ip cradle-cradle0`:
//!
//! ```text
//! set subnets            { type ipv4_addr; flags interval }
//! map host_ports         { type inet_proto . inet_service : ipv4_addr . inet_service }
//! map host_ports_at      { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//! set host_port_targets  { type ipv4_addr . inet_proto . inet_service . inet_service }
//!
//! chain guard        { type filter hook prerouting priority raw;
//!     iifname cradle0 ip daddr 127.0.0.0/8 drop
//!     iifname cradle0 ip saddr 127.0.0.0/8 drop }
//! chain prerouting   { type nat hook prerouting priority dstnat; fib daddr type local jump host_ports }
//! chain output       { type nat hook output priority dstnat;     fib daddr type local jump host_ports }
//! chain host_ports   {
//!     dnat ip to ip daddr . meta l4proto . th dport map @host_ports_at
//!     dnat ip to meta l4proto . th dport map @host_ports }
//! chain postrouting  { type nat hook postrouting priority srcnat;
//!     oifname cradle0 ip saddr 127.0.0.0/8 masquerade
//!     ct status dnat ip saddr @subnets
//!         ip daddr . meta l4proto . th dport . ct original proto-dst @host_port_targets masquerade
//!     ip saddr @subnets ip daddr != @subnets ip daddr & 240.0.0.0 != 224.0.0.0 masquerade }
//! ```
//!
//! - Rules never change while pods come and go, only elements of the maps do, and those only for pods with host ports.
//! - Host ports answer at 127.0.0.1 as well: the source is then masqueraded, as no answer comes back to a loopback
//!   address, and the bridge routes them (`route_localnet`). `guard` keeps pods from using that to reach what listens at
//!   the host's loopback (CVE-2020-8558).
//! - A pod that reaches a pod of its bridge through a host port comes masqueraded, as the answer would else take the
//!   short way and not be recognised. Flows that others translated, such as services, keep their sources.
//! - Every change is one transaction. The family is `ip`: IPv6 never meets these rules.

mod expression;

use std::net::Ipv4Addr;

use rustix::io::Errno;

use self::expression::{Address, Direction, Register, Rule, Wanted};
use super::limits::ELEMENTS_PER_MESSAGE;
use super::ports::HostPort;
use super::subnet::Subnet;
use crate::netlink::uapi::*;
use crate::netlink::{Attributes, Family, NetlinkError, Requests, Socket};

const SUBNETS: &str = "subnets";
const HOST_PORTS: &str = "host_ports";
const HOST_PORTS_AT: &str = "host_ports_at";
const TARGETS: &str = "host_port_targets";

/// The numbers by which `nft` knows the types of keys; the kernel only hands them on.
const TYPE_IPV4_ADDR: u32 = 7;
const TYPE_INET_PROTO: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;

/// Our table.
#[derive(Debug)]
pub struct Table {
    name: String,
    bridge: String,
    subnets: Vec<Subnet>,
    masquerade: bool,
    /// Opened at first use: a host without nf_tables still runs pods on its own network.
    socket: Option<Socket>,
}

impl Table {
    pub fn new(bridge: &str, subnets: &[Subnet], masquerade: bool) -> Self {
        let name = format!("cradle-{bridge}");
        Table { name, bridge: bridge.to_owned(), subnets: subnets.to_vec(), masquerade, socket: None }
    }

    /// Whether the table is there. Whoever flushes the packet filter's rules takes it along.
    pub fn exists(&mut self) -> Result<bool, NetlinkError> {
        let mut requests = Requests::new();
        let kind = message(NFT_MSG_GETTABLE);
        requests.act("look up our nf_tables table", kind, 0, &fixed(NFPROTO_IPV4, 0), |table| {
            table.text(NFTA_TABLE_NAME, &self.name);
        });
        match self.socket()?.execute(&requests) {
            Err(error) if error.refusal() == Some(Errno::NOENT) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Makes the table anew, with these host ports open: all at once, whatever was there.
    pub fn replace(&mut self, open: &[(Ipv4Addr, HostPort)]) -> Result<(), NetlinkError> {
        let requests = self.transaction(|table, requests| {
            // Deleting what does not exist fails, so it is made to exist.
            table.create(requests);
            table.delete(requests);
            table.create(requests);
            table.sets(requests);
            table.chains(requests);
            table.rules(requests);
            table.elements(requests, "open host ports", NFT_MSG_NEWSETELEM, open);
        });
        self.socket()?.execute(&requests)
    }

    /// Opens host ports of a pod; those that are open already stay so.
    pub fn open(&mut self, pod: Ipv4Addr, ports: &[HostPort]) -> Result<(), NetlinkError> {
        self.change("open host ports", NFT_MSG_NEWSETELEM, pod, ports)
    }

    /// Closes host ports of a pod; the error is `ENOENT` if one of them is not open, and none is closed then.
    pub fn close(&mut self, pod: Ipv4Addr, ports: &[HostPort]) -> Result<(), NetlinkError> {
        self.change("close host ports", NFT_MSG_DELSETELEM, pod, ports)
    }

    fn change(&mut self, what: &'static str, kind: u16, pod: Ipv4Addr, ports: &[HostPort]) -> Result<(), NetlinkError> {
        let ports: Vec<(Ipv4Addr, HostPort)> = ports.iter().map(|port| (pod, *port)).collect();
        let requests = self.transaction(|table, requests| table.elements(requests, what, kind, &ports));
        self.socket()?.execute(&requests)
    }

    /// Removes the table, if it is there.
    pub fn remove(&mut self) -> Result<(), NetlinkError> {
        let requests = self.transaction(|table, requests| table.delete(requests));
        match self.socket()?.execute(&requests) {
            Err(error) if error.refusal() == Some(Errno::NOENT) => Ok(()),
            result => result,
        }
    }

    fn socket(&mut self) -> Result<&mut Socket, NetlinkError> {
        match &mut self.socket {
            Some(socket) => Ok(socket),
            none => Ok(none.insert(Socket::open(Family::Netfilter)?)),
        }
    }

    fn transaction(&self, fill: impl FnOnce(&Self, &mut Requests)) -> Requests {
        let mut requests = Requests::new();
        let frame = fixed(AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
        requests.silent("begin an nf_tables transaction", NFNL_MSG_BATCH_BEGIN, &frame);
        fill(self, &mut requests);
        requests.silent("end an nf_tables transaction", NFNL_MSG_BATCH_END, &frame);
        requests
    }

    fn create(&self, requests: &mut Requests) {
        add(requests, "create our nf_tables table", NFT_MSG_NEWTABLE, NLM_F_CREATE, |table| {
            table.text(NFTA_TABLE_NAME, &self.name);
        });
    }

    fn delete(&self, requests: &mut Requests) {
        add(requests, "delete our nf_tables table", NFT_MSG_DELTABLE, 0, |table| {
            table.text(NFTA_TABLE_NAME, &self.name)
        });
    }

    fn sets(&self, requests: &mut Requests) {
        let port = [TYPE_INET_PROTO, TYPE_INET_SERVICE];
        let port_at = [TYPE_IPV4_ADDR, TYPE_INET_PROTO, TYPE_INET_SERVICE];
        let target = [TYPE_IPV4_ADDR, TYPE_INET_PROTO, TYPE_INET_SERVICE, TYPE_INET_SERVICE];
        let pod = [TYPE_IPV4_ADDR, TYPE_INET_SERVICE];
        self.set(requests, 1, SUBNETS, NFT_SET_INTERVAL, &[TYPE_IPV4_ADDR], &[]);
        self.set(requests, 2, HOST_PORTS, NFT_SET_MAP, &port, &pod);
        self.set(requests, 3, HOST_PORTS_AT, NFT_SET_MAP, &port_at, &pod);
        self.set(requests, 4, TARGETS, 0, &target, &[]);
        self.set_elements(requests, "list our subnets", NFT_MSG_NEWSETELEM, SUBNETS, |elements| {
            for subnet in &self.subnets {
                // An interval ends before the element that says so. Subnets end far below the last address there is.
                let behind = Ipv4Addr::from(u32::from(subnet.broadcast()).saturating_add(1));
                element(elements, &subnet.network().octets(), None, 0);
                element(elements, &behind.octets(), None, NFT_SET_ELEM_INTERVAL_END);
            }
        });
    }

    fn set(&self, requests: &mut Requests, id: u32, name: &str, flags: u32, key: &[u32], data: &[u32]) {
        add(requests, "create a set", NFT_MSG_NEWSET, NLM_F_CREATE, |set| {
            set.text(NFTA_SET_TABLE, &self.name);
            set.text(NFTA_SET_NAME, name);
            set.be32(NFTA_SET_FLAGS, flags);
            set.be32(NFTA_SET_KEY_TYPE, concatenation(key));
            set.be32(NFTA_SET_KEY_LEN, registers(key));
            set.be32(NFTA_SET_ID, id);
            if !data.is_empty() {
                set.be32(NFTA_SET_DATA_TYPE, concatenation(data));
                set.be32(NFTA_SET_DATA_LEN, registers(data));
            }
        });
    }

    fn chains(&self, requests: &mut Requests) {
        self.base_chain(requests, "guard", "filter", NF_INET_PRE_ROUTING, NF_IP_PRI_RAW);
        self.base_chain(requests, "prerouting", "nat", NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST);
        self.base_chain(requests, "output", "nat", NF_INET_LOCAL_OUT, NF_IP_PRI_NAT_DST);
        self.base_chain(requests, "postrouting", "nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC);
        self.chain(requests, HOST_PORTS, |_| ());
    }

    fn base_chain(&self, requests: &mut Requests, name: &str, kind: &str, hook: u32, priority: i32) {
        self.chain(requests, name, |chain| {
            chain.text(NFTA_CHAIN_TYPE, kind);
            chain.nest(NFTA_CHAIN_HOOK, |attributes| {
                attributes.be32(NFTA_HOOK_HOOKNUM, hook);
                attributes.bytes(NFTA_HOOK_PRIORITY, &priority.to_be_bytes());
            });
        });
    }

    fn chain(&self, requests: &mut Requests, name: &str, hook: impl FnOnce(&mut Attributes<'_>)) {
        add(requests, "create a chain", NFT_MSG_NEWCHAIN, NLM_F_CREATE, |chain| {
            chain.text(NFTA_CHAIN_TABLE, &self.name);
            chain.text(NFTA_CHAIN_NAME, name);
            hook(chain);
        });
    }

    fn rules(&self, requests: &mut Requests) {
        for address in [Address::Destination, Address::Source] {
            self.rule(requests, "guard", |rule| {
                rule.through(Direction::In, &self.bridge);
                rule.address_begins(address, &[127]);
                rule.drop();
            });
        }
        for chain in ["prerouting", "output"] {
            self.rule(requests, chain, |rule| {
                rule.destined_here();
                rule.jump(HOST_PORTS);
            });
        }
        self.rule(requests, HOST_PORTS, |rule| {
            rule.address(Address::Destination, Register(0));
            rule.transport_protocol(Register(1));
            rule.destination_port(Register(2));
            rule.map(HOST_PORTS_AT, Register(0), Register(0));
            rule.translate_destination(Register(0), Register(1));
        });
        self.rule(requests, HOST_PORTS, |rule| {
            rule.transport_protocol(Register(0));
            rule.destination_port(Register(1));
            rule.map(HOST_PORTS, Register(0), Register(0));
            rule.translate_destination(Register(0), Register(1));
        });
        self.source_rules(requests);
    }

    fn source_rules(&self, requests: &mut Requests) {
        self.rule(requests, "postrouting", |rule| {
            rule.through(Direction::Out, &self.bridge);
            rule.address_begins(Address::Source, &[127]);
            rule.masquerade();
        });
        self.rule(requests, "postrouting", |rule| {
            rule.destination_translated();
            rule.address(Address::Source, Register(0));
            rule.in_set(SUBNETS, Register(0), Wanted::Match);
            rule.address(Address::Destination, Register(0));
            rule.transport_protocol(Register(1));
            rule.destination_port(Register(2));
            rule.original_destination_port(Register(3));
            rule.in_set(TARGETS, Register(0), Wanted::Match);
            rule.masquerade();
        });
        if self.masquerade {
            self.rule(requests, "postrouting", |rule| {
                rule.address(Address::Source, Register(0));
                rule.in_set(SUBNETS, Register(0), Wanted::Match);
                rule.address(Address::Destination, Register(0));
                rule.in_set(SUBNETS, Register(0), Wanted::NoMatch);
                rule.not_to_multicast();
                rule.masquerade();
            });
        }
    }

    fn rule(&self, requests: &mut Requests, chain: &str, fill: impl FnOnce(&mut Rule<'_, '_>)) {
        add(requests, "create a rule", NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |rule| {
            rule.text(NFTA_RULE_TABLE, &self.name);
            rule.text(NFTA_RULE_CHAIN, chain);
            rule.nest(NFTA_RULE_EXPRESSIONS, |expressions| fill(&mut Rule(expressions)));
        });
    }

    /// Host ports, as elements of the map by port, or by address and port, and of the set of targets.
    fn elements(&self, requests: &mut Requests, what: &'static str, kind: u16, ports: &[(Ipv4Addr, HostPort)]) {
        let adding = kind == NFT_MSG_NEWSETELEM;
        for ports in ports.chunks(ELEMENTS_PER_MESSAGE) {
            for (map, specific) in [(HOST_PORTS, false), (HOST_PORTS_AT, true)] {
                let of_map = || ports.iter().filter(move |(_, port)| port.host_ip.is_some() == specific);
                if of_map().next().is_none() {
                    continue;
                }
                self.set_elements(requests, what, kind, map, |elements| {
                    for (pod, port) in of_map() {
                        let data = [pod.octets(), be16(port.pod_port)].concat();
                        element(elements, &map_key(port), adding.then_some(&data), 0);
                    }
                });
            }
            self.set_elements(requests, what, kind, TARGETS, |elements| {
                for (pod, port) in ports {
                    let protocol = [port.protocol_number(), 0, 0, 0];
                    let key = [pod.octets(), protocol, be16(port.pod_port), be16(port.host_port)].concat();
                    element(elements, &key, None, 0);
                }
            });
        }
    }

    fn set_elements(
        &self,
        requests: &mut Requests,
        what: &'static str,
        kind: u16,
        set: &str,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let flags = if kind == NFT_MSG_NEWSETELEM { NLM_F_CREATE } else { 0 };
        add(requests, what, kind, flags, |list| {
            list.text(NFTA_SET_ELEM_LIST_TABLE, &self.name);
            list.text(NFTA_SET_ELEM_LIST_SET, set);
            list.nest(NFTA_SET_ELEM_LIST_ELEMENTS, fill);
        });
    }
}

const AF_UNSPEC: u8 = 0;

/// `struct nfgenmsg`
fn fixed(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn message(kind: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | kind
}

fn add(requests: &mut Requests, what: &'static str, kind: u16, flags: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
    requests.act(what, message(kind), flags, &fixed(NFPROTO_IPV4, 0), fill);
}

fn element(elements: &mut Attributes<'_>, key: &[u8], data: Option<&Vec<u8>>, flags: u32) {
    elements.nest(NFTA_LIST_ELEM, |element| {
        element.nest(NFTA_SET_ELEM_KEY, |value| value.bytes(NFTA_DATA_VALUE, key));
        if let Some(data) = data {
            element.nest(NFTA_SET_ELEM_DATA, |value| value.bytes(NFTA_DATA_VALUE, data));
        }
        if flags != 0 {
            element.be32(NFTA_SET_ELEM_FLAGS, flags);
        }
    });
}

fn map_key(port: &HostPort) -> Vec<u8> {
    let by_port = [[port.protocol_number(), 0, 0, 0], be16(port.host_port)];
    port.host_ip.map(|host_ip| host_ip.octets()).into_iter().chain(by_port).flatten().collect()
}

/// A port in network order, in a register of its own.
fn be16(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// The type of a concatenation: six bits a part.
fn concatenation(types: &[u32]) -> u32 {
    types.iter().fold(0, |whole, part| whole << 6 | part)
}

/// The bytes of a concatenation: a register a part.
fn registers(types: &[u32]) -> u32 {
    types.iter().map(|_| 4).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cradle_engine::spec::Protocol;

    #[test]
    fn keys_are_made_of_whole_registers_in_network_order() {
        let port = HostPort { protocol: Protocol::Udp, host_ip: None, host_port: 0x1234, pod_port: 80 };
        assert_eq!(map_key(&port), [17, 0, 0, 0, 0x12, 0x34, 0, 0]);
        let port = HostPort { host_ip: Some(Ipv4Addr::new(192, 0, 2, 1)), ..port };
        assert_eq!(map_key(&port), [192, 0, 2, 1, 17, 0, 0, 0, 0x12, 0x34, 0, 0]);
        assert_eq!(concatenation(&[TYPE_IPV4_ADDR, TYPE_INET_SERVICE]), 461);
    }
}
