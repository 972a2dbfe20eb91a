//! Flows that the kernel's connection tracking remembers and that a change of host ports makes wrong.
//!
//! A flow is translated as its first packet was. For TCP a new connection is a new flow, but a client that goes on sending
//! UDP from one port keeps its flow alive: it would never reach a pod that came later, or go on to the address of a pod
//! that is gone.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use super::limits::{LISTING_ATTEMPTS, REQUESTS_PER_SEND};
use super::link;
use super::ports::HostPort;
use crate::netlink::decode::find;
use crate::netlink::uapi::*;
use crate::netlink::{Family, NetlinkError, Requests, Socket};

const FIXED_BYTES: usize = 4;
const FIXED: [u8; FIXED_BYTES] = [NFPROTO_IPV4, 0, 0, 0];

/// One direction of a flow, as far as we look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tuple {
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    destination_port: u16,
}

/// The flows through these host ports that do not go where they would go now.
#[derive(Debug, PartialEq, Eq)]
pub struct StaleFlows {
    pub ports: Vec<HostPort>,
    pub stale: Stale,
}

/// Which of them are stale. Who answers a flow is who was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// The ports were just opened: those to one of the host's addresses that do not reach the pod.
    NotReaching(Ipv4Addr),
    /// The ports were just closed: those that reach the pod.
    Reaching(Ipv4Addr),
}

/// What the kernel identifies a flow by: attributes, as it gave them.
struct Flow(Vec<(u16, Vec<u8>)>);

/// Has the kernel forget stale flows.
pub fn forget(flows: &StaleFlows) -> Result<(), NetlinkError> {
    let host = match flows.stale {
        Stale::NotReaching(_) => link::host_addresses(&mut Socket::open(Family::Route)?)?,
        Stale::Reaching(_) => Vec::new(),
    };
    let host: Vec<Ipv4Addr> = host.iter().map(|address| address.address).collect();
    let mut socket = Socket::open(Family::Netfilter)?;
    for flows in list(&mut socket, flows, &host)?.chunks(REQUESTS_PER_SEND) {
        let mut requests = Requests::new();
        for flow in flows {
            requests.act("forget a flow", message(IPCTNL_MSG_CT_DELETE), 0, &FIXED, |attributes| {
                for (kind, value) in &flow.0 {
                    attributes.bytes(*kind, value);
                }
            });
        }
        match socket.execute(&requests) {
            // It ended by itself.
            Err(error) if error.refusal() == Some(Errno::NOENT) => {}
            result => result?,
        }
    }
    Ok(())
}

fn list(socket: &mut Socket, wanted: &StaleFlows, host: &[Ipv4Addr]) -> Result<Vec<Flow>, NetlinkError> {
    let mut attempt = 1;
    loop {
        let mut requests = Requests::new();
        requests.dump("list flows", message(IPCTNL_MSG_CT_GET), &FIXED, |_| ());
        let mut flows = Vec::new();
        match socket.query(&requests, |payload| flows.extend(stale_flow(payload, wanted, host))) {
            Err(NetlinkError::Interrupted { .. }) if attempt < LISTING_ATTEMPTS => attempt += 1,
            result => return result.map(|()| flows),
        }
    }
}

fn stale_flow(payload: &[u8], wanted: &StaleFlows, host: &[Ipv4Addr]) -> Option<Flow> {
    let attributes = payload.get(FIXED_BYTES..)?;
    let original = tuple(find(attributes, CTA_TUPLE_ORIG)?)?;
    let reply = tuple(find(attributes, CTA_TUPLE_REPLY)?)?;
    let identity = [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID];
    is_stale(original, reply, wanted, host)
        .then(|| Flow(identity.iter().filter_map(|kind| Some((*kind, find(attributes, *kind)?.to_vec()))).collect()))
}

fn is_stale(original: Tuple, reply: Tuple, wanted: &StaleFlows, host: &[Ipv4Addr]) -> bool {
    let through = |port: &HostPort| {
        original.protocol == port.protocol_number()
            && original.destination_port == port.host_port
            && port.host_ip.is_none_or(|host_ip| host_ip == original.destination)
    };
    wanted.ports.iter().any(through)
        && match wanted.stale {
            Stale::NotReaching(pod) => reply.source != pod && host.contains(&original.destination),
            Stale::Reaching(pod) => reply.source == pod,
        }
}

fn tuple(attributes: &[u8]) -> Option<Tuple> {
    let ip = find(attributes, CTA_TUPLE_IP)?;
    let transport = find(attributes, CTA_TUPLE_PROTO)?;
    let address = |kind| -> Option<Ipv4Addr> { Some(<[u8; 4]>::try_from(find(ip, kind)?).ok()?.into()) };
    Some(Tuple {
        protocol: *find(transport, CTA_PROTO_NUM)?.first()?,
        source: address(CTA_IP_V4_SRC)?,
        destination: address(CTA_IP_V4_DST)?,
        destination_port: u16::from_be_bytes(find(transport, CTA_PROTO_DST_PORT)?.try_into().ok()?),
    })
}

fn message(kind: u16) -> u16 {
    NFNL_SUBSYS_CTNETLINK << 8 | kind
}

#[cfg(test)]
mod tests {
    use cradle_engine::spec::Protocol;

    use super::*;

    #[test]
    fn only_flows_through_the_ports_that_reach_the_wrong_one_are_stale() {
        let [client, host, pod, other] = [1, 2, 3, 4].map(|last| Ipv4Addr::new(192, 0, 2, last));
        let tuple =
            |source, destination, destination_port| Tuple { protocol: 17, source, destination, destination_port };
        let port = |host_ip| HostPort { protocol: Protocol::Udp, host_ip, host_port: 53, pod_port: 5353 };
        let opened = |port| StaleFlows { ports: vec![port], stale: Stale::NotReaching(pod) };
        let closed = |port| StaleFlows { ports: vec![port], stale: Stale::Reaching(pod) };
        for (destination, destination_port, answers, host_ip, stale_opened, stale_closed) in [
            (host, 53, host, None, true, false),
            (host, 53, other, None, true, false),
            (host, 53, pod, None, false, true),
            (host, 53, host, Some(host), true, false),
            (host, 53, host, Some(other), false, false),
            (host, 54, host, None, false, false),
            // A pod's own query to a name server elsewhere, by the same port.
            (other, 53, other, None, false, false),
        ] {
            let (original, reply) = (tuple(client, destination, destination_port), tuple(answers, client, 4000));
            let case = format!("{destination}:{destination_port} answered by {answers}");
            assert_eq!(is_stale(original, reply, &opened(port(host_ip)), &[host]), stale_opened, "opened: {case}");
            assert_eq!(is_stale(original, reply, &closed(port(host_ip)), &[]), stale_closed, "closed: {case}");
        }
        let tcp = HostPort { protocol: Protocol::Tcp, ..port(None) };
        assert!(!is_stale(tuple(client, host, 53), tuple(pod, client, 4000), &closed(tcp), &[]));
    }
}
