//! The port to the shims.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use cradle_domain::{ContainerId, PodId};
use cradle_shim::protocol::{ContainerReport, Event, Greeting, Reply, Request};
use tokio::sync::mpsc;

use super::Act;

/// Starts shims and finds those that run.
pub trait Shims: Send + Sync + 'static {
    /// Starts a pod's shim and connects to it. What it tells unasked goes to `events`.
    fn launch<'a>(&'a self, pod: &'a PodId, events: mpsc::Sender<ShimEvent>) -> Act<'a, Arc<dyn ShimLink>>;

    /// Connects to the shim of a pod that was launched in an earlier life of the daemon; none: there is no such process.
    /// One that does not answer is killed, and then there is none.
    ///
    /// # Errors
    /// Whether there is one is not known, or it cannot be killed: to be asked again.
    fn connect<'a>(&'a self, pod: &'a PodId, events: mpsc::Sender<ShimEvent>) -> Act<'a, Option<Found>>;

    /// There is no pod any more: gives back what shims share. The kernel may let it wait.
    fn none_left(&self);

    /// What a shim, perhaps dead by now, wrote about a container's end.
    fn exit_record(&self, pod: &PodId, container: &ContainerId) -> Option<ContainerReport>;
}

/// A shim that was found.
pub struct Found {
    pub link: Arc<dyn ShimLink>,
    pub greeting: Greeting,
}

/// A connection to one shim. A shim that ends it has no more to do: its process is killed.
pub trait ShimLink: Send + Sync + 'static {
    /// Sends a request and waits for its answer, within the request's bound. `request_id` is the gRPC request's.
    fn call<'a>(
        &'a self,
        request_id: &'a str,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Act<'a, (Reply, Vec<OwnedFd>)>;

    /// The shim's process.
    fn pid(&self) -> i32;

    /// Kills the shim's process with SIGKILL; dead already: nothing.
    fn kill(&self);

    /// Whether the connection has ended: there will be no more answers.
    fn is_lost(&self) -> bool;
}

/// What a shim tells unasked.
#[derive(Debug)]
pub enum ShimEvent {
    Told(Event),
    /// The shim's process has ended; nothing comes after this.
    Lost,
}
