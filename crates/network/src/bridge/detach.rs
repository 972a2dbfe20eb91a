//! Disconnects a pod: host ports, link, address, in this order, so that nothing leads to an address that another pod may
//! get. Each step succeeds when there is nothing to do, for a pod that is half connected, gone or never was.

use std::time::Instant;

use cradle_domain::{Class, Classified, PodId};
use rustix::io::Errno;

use super::Network;
use super::deferred::Deferred;
use super::flows::{Stale, StaleFlows};
use super::leases::{Lease, ReleaseError};
use super::link;
use crate::netlink::{Family, NetlinkError, Socket};

/// Why a pod could not be disconnected.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    #[error("cannot close the host ports of pod {pod}")]
    Close { pod: PodId, source: NetlinkError },
    #[error("cannot disconnect pod {pod} from the bridge")]
    Link { pod: PodId, source: NetlinkError },
    #[error("cannot release the address of pod {pod}")]
    Lease { pod: PodId, source: ReleaseError },
}

impl Classified for DetachError {
    fn class(&self) -> Class {
        match self {
            DetachError::Close { source, .. } | DetachError::Link { source, .. } => source.class(),
            DetachError::Lease { source, .. } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            DetachError::Close { source, .. } | DetachError::Link { source, .. } => source.hint(),
            DetachError::Lease { source, .. } => source.hint(),
        }
    }
}

impl Network {
    pub(super) fn detach(&self, pod: &PodId) -> Result<Deferred, DetachError> {
        let lease = self.leases.retire(pod).filter(|lease| !lease.ports.is_empty());
        if let Some(lease) = &lease {
            self.close_ports(lease).map_err(|source| DetachError::Close { pod: pod.clone(), source })?;
        }
        let link = Socket::open(Family::Route)
            .and_then(|mut socket| link::cut(&mut socket, &link::port_name(pod)))
            .map_err(|source| DetachError::Link { pod: pod.clone(), source })?;
        self.leases.release(pod).map_err(|source| DetachError::Lease { pod: pod.clone(), source })?;
        *self.unused_since() = Instant::now();
        let flows = lease.map(|lease| StaleFlows { ports: lease.ports, stale: Stale::Reaching(lease.address) });
        Ok(Deferred { link, flows })
    }

    fn close_ports(&self, lease: &Lease) -> Result<(), NetlinkError> {
        let mut table = self.table();
        match table.close(lease.address, &lease.ports) {
            // Some were closed already, or never opened: the table is made anew from what is to be open.
            Err(error) if error.refusal() == Some(Errno::NOENT) => {
                if table.exists()? {
                    table.replace(&self.leases.open_ports())?;
                }
                Ok(())
            }
            result => result,
        }
    }
}
