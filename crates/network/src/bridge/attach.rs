//! Connects a pod: address, links, host ports, in this order. Each step finds out what an interrupted attachment has
//! left, so the whole can be repeated; what a failed one leaves is the detachment's to remove.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use cradle_domain::{Class, Classified, PodId};
use cradle_engine::ports::{Attachment, NetworkAttachment};
use cradle_engine::spec::Protocol;
use rustix::io::Errno;

use super::deferred::Deferred;
use super::flows::{Stale, StaleFlows};
use super::leases::{Grant, LeaseError};
use super::link;
use super::ports::{self, HostPort, PortError};
use super::setup::SetupError;
use super::sysctl::{self, SysctlError};
use super::{Network, Shared};
use crate::netlink::{Family, NetlinkError, Socket};

/// Why a pod could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("the host ports of pod {pod} cannot be opened")]
    Ports { pod: PodId, source: PortError },
    #[error("the pod network is not usable")]
    Setup { source: SetupError },
    #[error("pod {pod} gets no address")]
    Lease { pod: PodId, source: LeaseError },
    #[error("cannot connect pod {pod} to the bridge by the link {port}")]
    Link { pod: PodId, port: String, source: NetlinkError },
    #[error("the network namespace of pod {pod} has an eth0 that is not ours")]
    Occupied { pod: PodId },
    #[error("cannot open the host ports of pod {pod}")]
    Open { pod: PodId, source: NetlinkError },
    #[error("cannot open the host ports of pod {pod} at 127.0.0.1")]
    Loopback { pod: PodId, source: SysctlError },
}

impl Classified for AttachError {
    fn class(&self) -> Class {
        match self {
            AttachError::Ports { source, .. } => source.class(),
            AttachError::Setup { source } => source.class(),
            AttachError::Lease { source, .. } => source.class(),
            AttachError::Link { source, .. } | AttachError::Open { source, .. } => source.class(),
            AttachError::Occupied { .. } => Class::Conflict,
            AttachError::Loopback { source, .. } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            AttachError::Ports { source, .. } => source.hint(),
            AttachError::Setup { source } => source.hint(),
            AttachError::Lease { source, .. } => source.hint(),
            AttachError::Link { source, .. } | AttachError::Open { source, .. } => source.hint(),
            AttachError::Occupied { .. } => None,
            AttachError::Loopback { source, .. } => source.hint(),
        }
    }
}

impl Network {
    pub(super) fn attach(&self, attachment: Attachment) -> Result<(NetworkAttachment, Deferred), AttachError> {
        let Attachment { pod, netlink, namespace_fd, port_mappings, .. } = attachment;
        let ports =
            ports::host_ports(&port_mappings).map_err(|source| AttachError::Ports { pod: pod.clone(), source })?;
        let wiring = Wiring { port: link::port_name(&pod), pod, namespace: namespace_fd.as_fd() };
        let mut in_pod = Socket::from_fd(netlink);
        let address = match self.attach_once(&wiring, &mut in_pod, &ports) {
            // Somebody removed the bridge behind our back: it is made anew, once.
            Err(AttachError::Link { .. }) if self.forget_lost_bridge() => {
                self.attach_once(&wiring, &mut in_pod, &ports)?
            }
            result => result?,
        };
        // Each TCP connection is a flow of its own, but a client that goes on sending datagrams keeps its flow alive, and
        // it would never reach a pod that came later.
        let datagrams = ports.iter().any(|port| port.protocol != Protocol::Tcp);
        let flows = datagrams.then_some(StaleFlows { ports, stale: Stale::NotReaching(address) });
        Ok((NetworkAttachment { addresses: vec![address.into()] }, Deferred { flows, link: None }))
    }

    fn attach_once(
        &self,
        wiring: &Wiring<'_>,
        in_pod: &mut Socket,
        ports: &[HostPort],
    ) -> Result<Ipv4Addr, AttachError> {
        let pod = || wiring.pod.clone();
        // Held until the pod is connected: the bridge cannot be removed meanwhile.
        let shared = self.shared().map_err(|source| AttachError::Setup { source })?;
        let grant = self.leases.take(&wiring.pod, ports).map_err(|source| AttachError::Lease { pod: pod(), source })?;
        wiring.connect(&shared, in_pod, grant)?;
        self.open_ports(grant.address, ports).map_err(|source| AttachError::Open { pod: pod(), source })?;
        if !ports.is_empty() {
            sysctl::route_loopback_through(&self.config.bridge)
                .map_err(|source| AttachError::Loopback { pod: pod(), source })?;
        }
        Ok(grant.address)
    }

    /// Opens the pod's host ports. If the table is gone, because somebody flushed the packet filter's rules, it is made
    /// anew with the host ports of all pods; the look at it costs microseconds.
    fn open_ports(&self, pod: Ipv4Addr, ports: &[HostPort]) -> Result<(), NetlinkError> {
        let mut table = self.table();
        if !table.exists()? {
            table.replace(&self.leases.open_ports())
        } else if !ports.is_empty() {
            table.open(pod, ports)
        } else {
            Ok(())
        }
    }
}

/// Between which ends a pod is connected.
struct Wiring<'a> {
    pod: PodId,
    port: String,
    namespace: BorrowedFd<'a>,
}

impl Wiring<'_> {
    fn connect(&self, shared: &Shared, in_pod: &mut Socket, grant: Grant) -> Result<(), AttachError> {
        let failed = |source| AttachError::Link { pod: self.pod.clone(), port: self.port.clone(), source };
        let mut host = Socket::open(Family::Route).map_err(failed)?;
        let create = |host: &mut Socket| {
            link::create_pair(host, &self.port, shared.bridge, shared.mtu, grant.address, self.namespace)
        };
        match create(&mut host) {
            Err(error) if error.refusal() == Some(Errno::EXIST) => {
                if !self.is_connected(&mut host, in_pod)? {
                    create(&mut host).map_err(failed)?;
                }
            }
            result => result.map_err(failed)?,
        }
        let inside = link::configure_pod(in_pod, grant).map_err(failed)?;
        link::await_carriers(&mut host, &self.port, shared.bridge, in_pod, inside).map_err(failed)
    }

    /// Whether the pair of this pod is there, from an attachment before. One that leads elsewhere, or was cut off, is
    /// removed.
    fn is_connected(&self, host: &mut Socket, in_pod: &mut Socket) -> Result<bool, AttachError> {
        let failed = |source| AttachError::Link { pod: self.pod.clone(), port: self.port.clone(), source };
        let port = link::by_name(host, &self.port).map_err(failed)?;
        let inside = link::in_pod(in_pod).map_err(failed)?;
        match (port, inside) {
            (Some(port), Some(inside)) if link::are_connected(&port, &inside) => Ok(true),
            (Some(port), _) => link::remove(host, port.index).map(|_| false).map_err(failed),
            (None, Some(_)) => Err(AttachError::Occupied { pod: self.pod.clone() }),
            // It went away meanwhile.
            (None, None) => Ok(false),
        }
    }
}
