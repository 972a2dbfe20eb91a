//! Disconnects a pod: host ports, link, address, in this order, so that nothing leads to an address that another pod may
//! get. Each step succeeds when there is nothing to do, for a pod that is half connected, gone or never was.

use std::time::Instant;

use cradle_domain::{Class, Classified, PodId};
use rustix::io::Errno;

use super::Network;
use super::flows::{self, Stale};
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

/// The host's end of a pair that was cut off and is still to be removed, by its index: the name may be in use again.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct CutOff(u32);

impl Network {
    pub(super) fn detach(&self, pod: &PodId) -> Result<Option<CutOff>, DetachError> {
        if let Some(lease) = self.leases.retire(pod).filter(|lease| !lease.ports.is_empty()) {
            self.close_ports(&lease).map_err(|source| DetachError::Close { pod: pod.clone(), source })?;
        }
        let cut_off = Socket::open(Family::Route)
            .and_then(|mut socket| link::cut(&mut socket, &link::port_name(pod)))
            .map_err(|source| DetachError::Link { pod: pod.clone(), source })?;
        self.leases.release(pod).map_err(|source| DetachError::Lease { pod: pod.clone(), source })?;
        *self.unused_since() = Instant::now();
        Ok(cut_off.map(CutOff))
    }

    fn close_ports(&self, lease: &Lease) -> Result<(), NetlinkError> {
        let mut table = self.table();
        match table.close(lease.address, &lease.ports) {
            // Some were closed already, or never opened: the table is made anew from what is to be open.
            Err(error) if error.refusal() == Some(Errno::NOENT) => {
                if table.exists()? {
                    table.replace(&self.leases.open_ports())?;
                }
            }
            result => result?,
        }
        drop(table);
        if let Err(error) = flows::forget(&lease.ports, Stale::Reaching { pod: lease.address }) {
            let error = cradle_domain::failure::Chain(&error);
            tracing::warn!(%error, address = %lease.address, "flows to a pod that is gone go on until they time out");
        }
        Ok(())
    }

    /// Removes a link that a detachment has cut off. The kernel may have been faster, with the pod's namespace.
    pub(super) fn remove_link(&self, cut_off: CutOff) {
        let removed = Socket::open(Family::Route).and_then(|mut socket| link::remove(&mut socket, cut_off.0));
        if let Err(error) = removed {
            tracing::warn!(error = %cradle_domain::failure::Chain(&error), index = cut_off.0, "cannot remove the link of a pod that is gone");
        }
    }
}
