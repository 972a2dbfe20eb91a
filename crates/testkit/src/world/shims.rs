//! Shims that run nothing: containers are states, and end when they are told to.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cradle_domain::{Class, ContainerId, Failure, PodId, Timestamp};
use cradle_engine::ports::{Act, Found, ShimEvent, ShimLink, Shims};
use cradle_shim::protocol::{ContainerReport, Event, Exit, Greeting, Reply, Request, VERSION};
use tokio::sync::mpsc;

use super::streams::{self, Streams};
use super::{Life, State};

/// One shim.
#[derive(Default)]
pub(crate) struct FakeShim {
    set_up: bool,
    containers: BTreeMap<ContainerId, ContainerReport>,
    pub streams: Streams,
    /// It answers nobody.
    silent: bool,
    /// The daemon that listens.
    events: Option<mpsc::Sender<ShimEvent>>,
}

impl FakeShim {
    pub fn running(&self) -> Vec<ContainerId> {
        let alive = self.containers.values().filter(|report| report.exit.is_none());
        alive.map(|report| report.container.clone()).collect()
    }

    pub fn silence(&mut self) {
        self.silent = true;
    }

    fn tell(&self, event: ShimEvent) {
        if let Some(events) = &self.events {
            // A daemon that died does not listen.
            let _ = events.try_send(event);
        }
    }

    fn greeting(&self, pod: &PodId) -> Greeting {
        Greeting {
            version: VERSION,
            pod: pod.clone(),
            pid: 1,
            set_up: self.set_up,
            containers: self.containers.values().cloned().collect(),
        }
    }

    pub fn end(&mut self, container: &ContainerId, code: i32) {
        let Some(report) = self.containers.get_mut(container).filter(|report| report.exit.is_none()) else { return };
        let exit = Exit { code, at: Timestamp::now(), oom_killed: false, timed_out: false };
        report.exit = Some(exit);
        self.streams.end(container);
        let event = Event::ContainerExited { container: container.clone(), exit };
        self.tell(ShimEvent::Told(event));
    }
}

impl State {
    /// The end of a shim's process.
    pub fn end_shim(&mut self, pod: &PodId) {
        if let Some(shim) = self.shims.remove(pod) {
            shim.tell(ShimEvent::Lost);
        }
    }
}

pub(super) struct FakeShims {
    pub life: Arc<Life>,
}

impl Shims for FakeShims {
    fn launch<'a>(&'a self, pod: &'a PodId, events: mpsc::Sender<ShimEvent>) -> Act<'a, Arc<dyn ShimLink>> {
        let link = FakeLink { life: self.life.clone(), pod: pod.clone() };
        Box::pin(self.life.act("launch", move |state| {
            state.shims.insert(link.pod.clone(), FakeShim { events: Some(events), ..FakeShim::default() });
            Ok(Arc::new(link) as Arc<dyn ShimLink>)
        }))
    }

    fn connect<'a>(&'a self, pod: &'a PodId, events: mpsc::Sender<ShimEvent>) -> Act<'a, Option<Found>> {
        let link = FakeLink { life: self.life.clone(), pod: pod.clone() };
        Box::pin(self.life.act("connect", move |state| {
            state.shims.retain(|pod, shim| *pod != link.pod || !shim.silent);
            let Some(shim) = state.shims.get_mut(&link.pod) else { return Ok(None) };
            shim.events = Some(events);
            let greeting = shim.greeting(&link.pod);
            Ok(Some(Found { link: Arc::new(link), greeting }))
        }))
    }

    fn none_left(&self) {}

    fn exit_record(&self, _pod: &PodId, _container: &ContainerId) -> Option<ContainerReport> {
        None
    }
}

struct FakeLink {
    life: Arc<Life>,
    pod: PodId,
}

impl ShimLink for FakeLink {
    fn call<'a>(
        &'a self,
        _request_id: &'a str,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Act<'a, (Reply, Vec<OwnedFd>)> {
        Box::pin(self.life.act(name(&request), move |state| answer(state, &self.pod, request, descriptors)))
    }

    fn pid(&self) -> i32 {
        1
    }

    fn kill(&self) {
        self.life.world().kill_shim(&self.pod);
    }

    fn is_lost(&self) -> bool {
        !self.life.world().state().shims.contains_key(&self.pod)
    }
}

/// The name by which a test makes a request fail.
fn name(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "hello",
        Request::SetUpPod(_) => "set_up",
        Request::StartContainer(_) => "start",
        Request::StartExec(_) => "exec",
        Request::Signal { .. } => "signal",
        Request::KillContainer { .. } => "kill",
        Request::RemoveContainer { .. } => "remove",
        Request::ReopenLog { .. } => "reopen",
        Request::Resize { .. } => "resize",
        Request::Attach { .. } => "attach_streams",
        Request::Dial { .. } => "dial",
        Request::Shutdown => "shutdown",
    }
}

fn answer(
    state: &mut State,
    pod: &PodId,
    request: Request,
    descriptors: Vec<OwnedFd>,
) -> Result<(Reply, Vec<OwnedFd>), Failure> {
    let gone = || Failure::new(Class::Unavailable, "the shim is gone");
    let shim = state.shims.get_mut(pod).ok_or_else(gone)?;
    if shim.silent {
        return Err(Failure::new(Class::Deadline, "the shim did not answer"));
    }
    let reply = match request {
        Request::Hello { .. } => Reply::Greeting(Box::new(shim.greeting(pod))),
        Request::SetUpPod(_) => {
            shim.set_up = true;
            return Ok((Reply::PodReady, netns_descriptors()?));
        }
        Request::StartContainer(start) => {
            let container = start.plan.id.clone();
            let at = Timestamp::now();
            let report = ContainerReport { container: container.clone(), pid: 2, started_at: at, exit: None };
            shim.containers.insert(container, report);
            Reply::Started { pid: 2, at }
        }
        Request::Signal { target: cradle_shim::protocol::Target::Container(container), signal, .. } => {
            shim.end(&container, 128 + signal);
            Reply::Done
        }
        Request::KillContainer { container } => {
            shim.end(&container, 137);
            Reply::Done
        }
        Request::RemoveContainer { container } => {
            shim.containers.remove(&container);
            Reply::Done
        }
        Request::Shutdown => {
            for container in shim.running() {
                shim.end(&container, 137);
            }
            state.end_shim(pod);
            Reply::Done
        }
        Request::StartExec(start) => return shim.streams.start(*start, descriptors, shim.events.clone()),
        Request::Signal { target: cradle_shim::protocol::Target::Exec(_, exec), signal, .. } => {
            shim.streams.signal(exec, signal);
            Reply::Done
        }
        Request::Attach { container, .. } => return shim.streams.attach(container),
        Request::Dial { port } => return streams::dial(port),
        Request::ReopenLog { .. } | Request::Resize { .. } => {
            return Err(Failure::new(Class::Unimplemented, "not in this world"));
        }
    };
    Ok((reply, Vec::new()))
}

/// Two descriptors that lead nowhere, in the place of the pod's network namespace.
fn netns_descriptors() -> Result<Vec<OwnedFd>, Failure> {
    let open = || std::fs::File::open("/dev/null").map(OwnedFd::from);
    let opened = open().and_then(|first| Ok(vec![first, open()?]));
    opened.map_err(|error| Failure::new(Class::Bug, format!("opening /dev/null: {error}")))
}
