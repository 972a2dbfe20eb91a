//! Dial: a connection to a port inside a pod, made by the shim, which is in the pod's network namespace.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use cradle_domain::lifecycle::pod::PodRequest;
use cradle_domain::{Class, Failure};
use cradle_shim::protocol::Request;

use crate::pod::Pod;
use crate::request;

pub(crate) async fn dial(pod: Arc<Pod>, port: u16) -> Result<OwnedFd, Failure> {
    pod.admit(PodRequest::PortForward)?;
    let answer = pod.shim()?.call(&request::current(), Request::Dial { port }, Vec::new()).await;
    let socket = answer.and_then(|(_, descriptors)| {
        let first = descriptors.into_iter().next();
        first.ok_or_else(|| Failure::new(Class::Bug, "the shim's answer has no socket"))
    });
    socket.map_err(|failure| failure.context(format!("connecting into pod {}", pod.id)))
}
