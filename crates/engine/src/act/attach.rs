//! Attach: the shim hands over what it copies of a container's output, and the container's stdin.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use cradle_domain::lifecycle::container::ContainerRequest;
use cradle_domain::{Class, Failure};
use cradle_shim::protocol::{Reply, Request, Target};

use crate::container::Container;
use crate::engine::Core;
use crate::ports::ShimLink;
use crate::request;

/// Which streams are wanted.
#[derive(Debug, Clone, Copy)]
pub struct AttachStreams {
    pub stdin: bool,
    pub stdout: bool,
    /// A container with a terminal has none.
    pub stderr: bool,
}

/// Our ends of the streams. None: not wanted, or not there. The outputs end with the container, or when they are not read
/// for too long: nobody who attaches can slow a container.
#[derive(Debug)]
pub struct AttachEnds {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// A container that somebody is attached to.
pub struct Attachment {
    container: Arc<Container>,
    link: Arc<dyn ShimLink>,
}

impl Attachment {
    /// Sets the size of the container's terminal.
    ///
    /// # Errors
    /// It has none, or has ended.
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<(), Failure> {
        let resize = Request::Resize { target: Target::Container(self.container.id.clone()), columns, rows };
        self.link.call(&request::current(), resize, Vec::new()).await.map(|_| ())
    }

    /// Waits until the container has ended.
    pub async fn ended(&self) {
        self.container.dead().await;
    }
}

pub(crate) async fn attach(
    core: &Core,
    container: Arc<Container>,
    streams: AttachStreams,
) -> Result<(Attachment, AttachEnds), Failure> {
    container.admit(ContainerRequest::Exec)?;
    let link = core.pod_of(&container)?.shim()?;
    let AttachStreams { stdin, stdout, stderr } = streams;
    let attach = Request::Attach { container: container.id.clone(), stdin, stdout, stderr };
    let answer = link.call(&request::current(), attach, Vec::new()).await;
    let doing = |failure: Failure| failure.context(format!("attaching to container {}", container.id));
    let (reply, descriptors) = answer.map_err(doing)?;
    let Reply::Attached { stdin, stdout, stderr, .. } = reply else {
        return Err(doing(Failure::new(Class::Bug, "the shim's answer was of another kind than the request's")));
    };
    let mut descriptors = descriptors.into_iter();
    let mut end = |flag: bool| flag.then(|| descriptors.next()).flatten();
    let ends = AttachEnds { stdin: end(stdin), stdout: end(stdout), stderr: end(stderr) };
    Ok((Attachment { container, link }, ends))
}
