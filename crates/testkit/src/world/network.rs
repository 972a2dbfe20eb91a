//! A network that gives each pod an address.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use cradle_domain::{Failure, PodId};
use cradle_engine::ports::{Act, Attachment, NetworkAttachment, PodNetwork};

use super::Life;

pub(super) struct FakeNetwork {
    pub life: Arc<Life>,
}

impl PodNetwork for FakeNetwork {
    fn attach(&self, attachment: Attachment) -> Act<'_, NetworkAttachment> {
        Box::pin(self.life.act("attach", move |state| {
            let next = u8::try_from(state.leases.len() + 2).unwrap_or(u8::MAX);
            let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, next));
            let address = *state.leases.entry(attachment.pod).or_insert(address);
            Ok(NetworkAttachment { addresses: vec![address] })
        }))
    }

    fn detach(&self, pod: &PodId) -> Act<'_, ()> {
        let pod = pod.clone();
        Box::pin(self.life.act("detach", move |state| {
            state.leases.remove(&pod);
            Ok(())
        }))
    }

    fn owners(&self) -> Act<'_, Vec<PodId>> {
        Box::pin(self.life.act("network_owners", |state| Ok(state.leases.keys().cloned().collect())))
    }

    fn status(&self) -> Result<(), Failure> {
        Ok(())
    }
}
