//! Ports of the host that lead to ports of pods: which are asked for, and which exclude each other.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use cradle_domain::{Class, Classified};
use cradle_engine::spec::{PortMapping, Protocol};
use serde::{Deserialize, Serialize};

use super::limits::HOST_PORTS_MAX;

/// A port of the host that leads to a port of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    pub protocol: Protocol,
    /// The host's address that it is open at; none: all of them.
    pub host_ip: Option<Ipv4Addr>,
    pub host_port: u16,
    pub pod_port: u16,
}

/// Port mappings that cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PortError {
    #[error("host port {host_port} leads to port 0 of the pod")]
    NoPodPort { host_port: u16 },
    #[error("host port {host_port} is asked for at {host_ip}: the built-in pod network has no IPv6 yet")]
    Ipv6 { host_ip: IpAddr, host_port: u16 },
    #[error("the pod asks for {first} and for {second}")]
    Twice { first: HostPort, second: HostPort },
    #[error("the pod asks for {count} host ports, more than {HOST_PORTS_MAX}")]
    TooMany { count: usize },
}

impl Classified for PortError {
    fn class(&self) -> Class {
        match self {
            PortError::Ipv6 { .. } => Class::Unimplemented,
            _ => Class::Invalid,
        }
    }
}

impl HostPort {
    /// Whether both would answer for the same packet.
    pub fn conflicts_with(&self, other: &HostPort) -> bool {
        let addresses_meet = match (self.host_ip, other.host_ip) {
            (Some(one), Some(another)) => one == another,
            _ => true,
        };
        self.protocol == other.protocol && self.host_port == other.host_port && addresses_meet
    }

    /// The protocol's number in IP (RFC 5237).
    pub fn protocol_number(&self) -> u8 {
        match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        let host_ip = self.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        write!(f, "{protocol} {host_ip}:{} (to port {} of the pod)", self.host_port, self.pod_port)
    }
}

/// The host ports that a pod's mappings ask for, each once.
pub fn host_ports(mappings: &[PortMapping]) -> Result<Vec<HostPort>, PortError> {
    let mut ports: Vec<HostPort> = Vec::new();
    for mapping in mappings.iter().filter(|mapping| mapping.host_port != 0) {
        let host_port = mapping.host_port;
        if mapping.container_port == 0 {
            return Err(PortError::NoPodPort { host_port });
        }
        let host_ip = match mapping.host_ip {
            None => None,
            Some(any) if any.is_unspecified() => None,
            Some(IpAddr::V4(host_ip)) => Some(host_ip),
            Some(host_ip) => return Err(PortError::Ipv6 { host_ip, host_port }),
        };
        let port = HostPort { protocol: mapping.protocol, host_ip, host_port, pod_port: mapping.container_port };
        match ports.iter().find(|other| other.conflicts_with(&port)) {
            Some(same) if *same == port => {}
            Some(first) => return Err(PortError::Twice { first: *first, second: port }),
            None => ports.push(port),
        }
    }
    match ports.len() {
        count if count > HOST_PORTS_MAX => Err(PortError::TooMany { count }),
        _ => Ok(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(protocol: Protocol, host_ip: &str, host_port: u16, container_port: u16) -> PortMapping {
        PortMapping { protocol, container_port, host_port, host_ip: host_ip.parse().ok() }
    }

    #[test]
    fn mappings_become_host_ports_or_a_reason() {
        use Protocol::{Sctp, Tcp, Udp};
        let asked = |mappings: &[PortMapping]| {
            host_ports(mappings)
                .map(|ports| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                .map_err(|error| error.to_string())
        };
        for (mappings, expected) in [
            (vec![], Ok("")),
            (vec![mapping(Tcp, "", 0, 80)], Ok("")),
            (vec![mapping(Tcp, "", 8080, 80)], Ok("tcp 0.0.0.0:8080 (to port 80 of the pod)")),
            (vec![mapping(Sctp, "0.0.0.0", 1, 2)], Ok("sctp 0.0.0.0:1 (to port 2 of the pod)")),
            (vec![mapping(Udp, "::", 1, 2)], Ok("udp 0.0.0.0:1 (to port 2 of the pod)")),
            (vec![mapping(Tcp, "", 1, 2), mapping(Tcp, "0.0.0.0", 1, 2)], Ok("tcp 0.0.0.0:1 (to port 2 of the pod)")),
            (vec![mapping(Tcp, "::1", 1, 2)], Err("host port 1 is asked for at ::1")),
            (vec![mapping(Tcp, "", 1, 0)], Err("host port 1 leads to port 0 of the pod")),
            (vec![mapping(Tcp, "", 1, 2), mapping(Tcp, "", 1, 3)], Err("the pod asks for tcp 0.0.0.0:1")),
            (vec![mapping(Tcp, "", 1, 2), mapping(Tcp, "10.0.0.1", 1, 2)], Err("the pod asks for tcp 0.0.0.0:1")),
        ] {
            match (asked(&mappings), expected) {
                (Ok(ports), Ok(expected)) => assert_eq!(ports, expected),
                (Err(error), Err(expected)) => assert!(error.starts_with(expected), "{error}"),
                (got, expected) => panic!("{mappings:?}: {got:?}, expected {expected:?}"),
            }
        }
        let many: Vec<PortMapping> = (1..=257).map(|port| mapping(Tcp, "", port, port)).collect();
        assert_eq!(host_ports(&many), Err(PortError::TooMany { count: 257 }));
    }

    #[test]
    fn ports_conflict_when_one_packet_could_be_for_both() {
        use Protocol::{Tcp, Udp};
        let port = |protocol, host_ip: &str, host_port| HostPort {
            protocol,
            host_ip: host_ip.parse().ok(),
            host_port,
            pod_port: 80,
        };
        let any = port(Tcp, "", 1);
        for (other, conflict) in [
            (port(Tcp, "", 1), true),
            (port(Tcp, "10.0.0.1", 1), true),
            (port(Udp, "", 1), false),
            (port(Tcp, "", 2), false),
        ] {
            assert_eq!((any.conflicts_with(&other), other.conflicts_with(&any)), (conflict, conflict), "{other}");
        }
        assert!(!port(Tcp, "10.0.0.1", 1).conflicts_with(&port(Tcp, "10.0.0.2", 1)));
    }
}
