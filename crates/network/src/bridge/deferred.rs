//! What an act leaves to be done behind its answer, because it takes the kernel longer than the act itself and nobody has
//! to wait for it: to remove a link takes grace periods of 10 to 20 ms, to look for stale flows a walk through all of
//! connection tracking. What fails here, or is cut off by the end of the daemon, does no harm that lasts: the link is
//! down, and goes with its pod's namespace or with the bridge; flows time out.

use cradle_domain::failure::Chain;

use super::flows::{self, StaleFlows};
use super::link;
use crate::netlink::{Family, Socket};

/// What is to be done behind an act.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Deferred {
    /// The index of a link to be removed. Its name may be in use again.
    pub link: Option<u32>,
    pub flows: Option<StaleFlows>,
}

impl Deferred {
    pub fn is_nothing(&self) -> bool {
        *self == Deferred::default()
    }

    /// Does it; blocks.
    pub fn finish(self) {
        if let Some(index) = self.link {
            // The kernel may have been faster, with the pod's namespace.
            let removed = Socket::open(Family::Route).and_then(|mut socket| link::remove(&mut socket, index));
            if let Err(error) = removed {
                tracing::warn!(error = %Chain(&error), index, "cannot remove the link of a pod that is gone");
            }
        }
        if let Some(flows) = self.flows
            && let Err(error) = flows::forget(&flows)
        {
            tracing::warn!(error = %Chain(&error), "clients of host ports may go on to where those led before");
        }
    }
}
