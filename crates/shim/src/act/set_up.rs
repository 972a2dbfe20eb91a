//! The pod's namespaces.

use std::os::fd::OwnedFd;

use cradle_domain::Class;
use cradle_executor::pod::{self, PodPlan};
use rustix::io::Errno;

use crate::connection::Waiter;
use crate::journal::Level;
use crate::protocol::{Refusal, Reply};
use crate::shim::{Namespaces, Shim};

impl Shim {
    /// Makes the pod's namespaces and answers with what the daemon needs to build the pod's network.
    pub(crate) fn set_up_pod(&mut self, waiter: &Waiter, plan: &PodPlan) {
        match self.try_set_up(plan) {
            Ok(descriptors) => {
                self.journal.write(Level::Info, &waiter.request_id, "the pod is set up");
                self.answer(waiter, Reply::PodReady, descriptors);
            }
            Err(refusal) => self.refuse(waiter, refusal),
        }
    }

    fn try_set_up(&mut self, plan: &PodPlan) -> Result<Vec<OwnedFd>, Refusal> {
        self.refuse_while_shutting_down()?;
        match self.namespaces {
            Namespaces::NotYet => {}
            Namespaces::Made(_) => return Err(Refusal::new(Class::Refused, "the pod is set up already")),
            Namespaces::Failed => {
                let refusal = Refusal::new(Class::Refused, "the pod could not be set up before");
                return Err(refusal.with_hint("What was done of it ends with this shim: shut it down."));
            }
        }
        // This process lives in some of them even if others could not be made.
        self.namespaces = Namespaces::Failed;
        let namespaces = pod::set_up(plan, &self.single).map_err(|error| Refusal::from_error(&error))?;
        let descriptors = copies([namespaces.netlink.as_ref(), namespaces.network.as_ref()])
            .map_err(|errno| Refusal::from_errno("handing over the pod's network namespace", errno))?;
        self.namespaces = Namespaces::Made(namespaces);
        Ok(descriptors)
    }

    pub(crate) fn refuse_while_shutting_down(&self) -> Result<(), Refusal> {
        match self.shutdown {
            Some(_) => Err(Refusal::new(Class::Refused, "the pod is being shut down")),
            None => Ok(()),
        }
    }
}

fn copies<const N: usize>(descriptors: [Option<&OwnedFd>; N]) -> Result<Vec<OwnedFd>, Errno> {
    descriptors.into_iter().flatten().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3)).collect()
}
