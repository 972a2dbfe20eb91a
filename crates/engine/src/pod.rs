//! One pod in memory: its state, its containers, its shim, and the snapshot that readers get.
//!
//! The state changes only by [`cradle_domain::lifecycle`], under a lock that is held for the change or the copy alone.
//! Acts on one pod that exclude each other meet in its `lane`.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cradle_domain::lifecycle::Admission;
use cradle_domain::lifecycle::pod::{self as lifecycle, PodEvent, PodRequest, PodState};
use cradle_domain::{Class, ContainerId, Failure, PodId, Timestamp};
use cradle_shim::protocol::{ExecId, Exit};
use tokio::sync::{oneshot, watch};

use crate::container::Container;
use crate::creations::Creations;
use crate::ports::{PodRecord, ShimLink};
use crate::spec::{ContainerSpec, NamespaceMode, PodSpec, UserNamespace};
use crate::view::PodView;

/// What makes a pod the same pod: a repeated RunPodSandbox with this key means the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PodKey {
    uid: String,
    namespace: String,
    name: String,
    attempt: u32,
}

impl PodKey {
    pub fn of(spec: &PodSpec) -> Self {
        PodKey {
            uid: spec.uid.clone(),
            namespace: spec.namespace.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
        }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{} (uid {}, attempt {})", self.namespace, self.name, self.uid, self.attempt)
    }
}

/// What makes a container the same container within its pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ContainerKey {
    name: String,
    attempt: u32,
}

impl ContainerKey {
    pub fn of(spec: &ContainerSpec) -> Self {
        ContainerKey { name: spec.name.clone(), attempt: spec.attempt }
    }
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {} (attempt {})", self.name, self.attempt)
    }
}

pub(crate) struct Pod {
    pub id: PodId,
    pub key: PodKey,
    pub spec: Arc<PodSpec>,
    pub created_at: Timestamp,
    pub cgroup: String,
    /// Creations of containers share it; building, stopping and removing the pod have it alone.
    pub lane: tokio::sync::RwLock<()>,
    pub creations: Creations<ContainerKey, ContainerSpec, ContainerId>,
    inner: Mutex<Inner>,
    /// Execs whose end is awaited.
    execs: Mutex<HashMap<ExecId, oneshot::Sender<Exit>>>,
    next_exec: AtomicU64,
    /// The shim's end is wanted: it is no failure.
    ending: AtomicBool,
    /// Whether there is a shim of an earlier life could not be found out.
    shim_unknown: AtomicBool,
    /// Whether the shim is known to be gone and all that it told has been dealt with.
    shim_gone: watch::Sender<bool>,
}

struct Inner {
    state: PodState,
    addresses: Vec<IpAddr>,
    link: Option<Arc<dyn ShimLink>>,
    containers: Vec<Arc<Container>>,
    leftovers: Vec<String>,
}

impl Pod {
    pub fn new(id: PodId, spec: Arc<PodSpec>, cgroup: String) -> Arc<Self> {
        let record = PodRecord {
            id,
            spec: PodSpec::clone(&spec),
            state: PodState::Creating,
            created_at: Timestamp::now(),
            addresses: Vec::new(),
            cgroup,
        };
        Self::restore(record, spec)
    }

    /// A pod as its record tells of it, with `spec` being the record's.
    pub fn restore(record: PodRecord, spec: Arc<PodSpec>) -> Arc<Self> {
        Arc::new(Pod {
            key: PodKey::of(&spec),
            id: record.id,
            spec,
            created_at: record.created_at,
            cgroup: record.cgroup,
            lane: tokio::sync::RwLock::default(),
            creations: Creations::default(),
            inner: Mutex::new(Inner {
                state: record.state,
                addresses: record.addresses,
                link: None,
                containers: Vec::new(),
                leftovers: Vec::new(),
            }),
            execs: Mutex::default(),
            next_exec: AtomicU64::new(1),
            ending: AtomicBool::new(false),
            shim_unknown: AtomicBool::new(false),
            shim_gone: watch::Sender::new(true),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pod as it is now.
    pub fn view(&self) -> Arc<PodView> {
        let inner = self.inner();
        Arc::new(PodView {
            id: self.id.clone(),
            spec: self.spec.clone(),
            state: inner.state,
            created_at: self.created_at,
            addresses: inner.addresses.clone(),
            shim_pid: inner.link.as_ref().map(|link| link.pid()),
            cgroup: self.cgroup.clone(),
            leftovers: inner.leftovers.clone(),
            containers: inner.containers.iter().map(|container| container.view()).collect(),
        })
    }

    pub fn state(&self) -> PodState {
        self.inner().state
    }

    /// The record of what the pod is now.
    pub fn record(&self) -> PodRecord {
        let inner = self.inner();
        PodRecord {
            id: self.id.clone(),
            spec: PodSpec::clone(&self.spec),
            state: inner.state,
            created_at: self.created_at,
            addresses: inner.addresses.clone(),
            cgroup: self.cgroup.clone(),
        }
    }

    pub fn observe(&self, event: PodEvent) {
        let mut inner = self.inner();
        inner.state = lifecycle::observe(inner.state, event);
    }

    /// # Errors
    /// The request is refused in the pod's state.
    pub fn admit(&self, request: PodRequest) -> Result<(), Failure> {
        match lifecycle::admit(self.state(), request) {
            Admission::Accept | Admission::Already => Ok(()),
            Admission::Refused(why) => Err(Failure::new(Class::Refused, format!("pod {}: {why}", self.id))),
        }
    }

    pub fn set_addresses(&self, addresses: Vec<IpAddr>) {
        self.inner().addresses = addresses;
    }

    pub fn set_leftovers(&self, leftovers: Vec<String>) {
        self.inner().leftovers = leftovers;
    }

    /// Enters the shim that has been launched or found.
    pub fn connect(&self, link: Arc<dyn ShimLink>) {
        self.shim_gone.send_replace(false);
        self.inner().link = Some(link);
    }

    /// Takes note that the shim is gone and that nothing of what it told is waiting.
    pub fn disconnect(&self) {
        self.inner().link = None;
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shim_gone.send_replace(true);
    }

    pub fn link(&self) -> Option<Arc<dyn ShimLink>> {
        self.inner().link.clone()
    }

    /// The shim, for a request that needs one.
    ///
    /// # Errors
    /// It is gone.
    pub fn shim(&self) -> Result<Arc<dyn ShimLink>, Failure> {
        self.link().ok_or_else(|| {
            Failure::new(Class::Refused, format!("the shim of pod {} is gone", self.id))
                .with_hint("the pod is not ready; the kubelet stops and recreates it")
        })
    }

    /// From now on the shim's end is no failure.
    pub fn begin_ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Takes note of whether there may be a shim that nobody has reached.
    pub fn set_shim_unknown(&self, unknown: bool) {
        self.shim_unknown.store(unknown, Ordering::Relaxed);
    }

    pub fn is_shim_unknown(&self) -> bool {
        self.shim_unknown.load(Ordering::Relaxed)
    }

    /// Waits until the shim is gone and all that it told has been dealt with.
    pub async fn shim_gone(&self) {
        // The sender lives as long as `self`.
        let _ = self.shim_gone.subscribe().wait_for(|gone| *gone).await;
    }

    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.inner().containers.clone()
    }

    pub fn container(&self, id: &ContainerId) -> Option<Arc<Container>> {
        self.inner().containers.iter().find(|container| container.id == *id).cloned()
    }

    pub fn add_container(&self, container: Arc<Container>) {
        self.inner().containers.push(container);
    }

    pub fn remove_container(&self, id: &ContainerId) {
        self.inner().containers.retain(|container| container.id != *id);
    }

    pub fn has_own_network(&self) -> bool {
        self.spec.namespaces.network != NamespaceMode::Node
    }

    /// None: the host's.
    pub fn user_namespace(&self) -> Option<&UserNamespace> {
        self.spec.namespaces.user.as_ref()
    }

    /// A number for a new exec, and where its end will be told.
    pub fn begin_exec(&self) -> (ExecId, oneshot::Receiver<Exit>) {
        let exec = ExecId(self.next_exec.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).insert(exec, sender);
        (exec, receiver)
    }

    /// Takes note of an exec's end, or gives up waiting for it.
    pub fn end_exec(&self, exec: ExecId, exit: Option<Exit>) {
        let sender = self.execs.lock().unwrap_or_else(PoisonError::into_inner).remove(&exec);
        if let (Some(sender), Some(exit)) = (sender, exit) {
            // Nobody may be waiting any more.
            let _ = sender.send(exit);
        }
    }
}
