//! The engine's face: what can be asked of it. Each act is a file in `act/`.
//!
//! Every act runs as a task of its own: when the one who asked leaves, the work goes on or is undone, and the next
//! request joins it. Reads answer from memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cradle_domain::lifecycle::container::{ContainerRequest, ContainerState};
use cradle_domain::lifecycle::pod::{PodRequest, PodState};
use cradle_domain::{Class, ContainerId, Failure, PodId};
use cradle_executor::plan::Facts;
use tokio::task::JoinError;

use crate::act;
use crate::act::attach::{AttachEnds, AttachStreams, Attachment};
use crate::act::exec::{Exec, ExecEnds, ExecStreams};
use crate::act::repair::Repairs;
use crate::container::Container;
use crate::creations::Creations;
use crate::pod::{Pod, PodKey};
use crate::ports::{Ports, UserNamespaceSupport};
use crate::request;
use crate::seccomp::Profiles;
use crate::spec::{ContainerSpec, PodSpec, Resources};
use crate::usage::{self, ContainerUsage, PodUsage};
use crate::view::{ContainerView, PodView};

/// What the operator chose and the machine is.
pub struct Settings {
    /// The control group of pods whose request names none, as `/cradle`.
    pub cgroup_root: String,
    /// Longest line of a container's log before it is split.
    pub log_line_max_bytes: u32,
    /// The state folder; each pod's files are under `pods/<id>` in it.
    pub state: PathBuf,
    pub facts: Facts,
    /// `/proc/sys/kernel/hostname`: the name of pods on the host's network.
    pub hostname: String,
    /// The host's `resolv.conf`, for pods without a DNS configuration.
    pub resolv_conf: PathBuf,
    pub user_namespaces: UserNamespaceSupport,
}

/// Pods and containers, and everything that is done to them.
pub struct Engine {
    core: Arc<Core>,
}

/// What all acts share.
pub(crate) struct Core {
    pub ports: Ports,
    pub settings: Settings,
    pub pods: Index<PodId, Pod>,
    pub containers: Index<ContainerId, Container>,
    pub creations: Creations<PodKey, PodSpec, PodId>,
    pub repairs: Repairs,
    pub seccomp: Profiles,
    /// Records that could not be read at the start.
    damaged: RwLock<Vec<String>>,
}

/// What an exec gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

/// How the engine is, for Status.
#[derive(Debug, Clone)]
pub struct EngineStatus {
    /// Why pods cannot be connected; none: they can.
    pub network_failure: Option<Failure>,
    pub pods: usize,
    pub containers: usize,
    /// What is still to be undone, in the words of the errors.
    pub repairs: Vec<String>,
    /// Records that could not be read at the start.
    pub damaged: Vec<String>,
    /// What containers of this machine get less of than they may ask for.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Finds everything again that an earlier daemon left, begins the repairs, and is ready to answer.
    ///
    /// # Errors
    /// The records' folder cannot be read.
    pub async fn start(ports: Ports, settings: Settings) -> Result<Arc<Engine>, Failure> {
        let core = Arc::new(Core {
            ports,
            settings,
            pods: Index::default(),
            containers: Index::default(),
            creations: Creations::default(),
            repairs: Repairs::default(),
            seccomp: Profiles::default(),
            damaged: RwLock::default(),
        });
        let damaged = act::recover::recover(&core).await?;
        *core.damaged.write().unwrap_or_else(PoisonError::into_inner) = damaged;
        act::repair::start(&core);
        Ok(Arc::new(Engine { core }))
    }

    /// Creates and starts a pod; the same request again joins the first.
    pub async fn run_pod(&self, spec: PodSpec) -> Result<PodId, Failure> {
        act::run_pod::run_pod(&self.core, spec).await
    }

    /// Kills all containers of a pod and releases its network. An unknown pod is stopped already.
    pub async fn stop_pod(&self, id: &str) -> Result<(), Failure> {
        match self.core.pods.find(id, "pod sandbox")? {
            Some(pod) => act::stop_pod::stop_pod(&self.core, pod).await,
            None => Ok(()),
        }
    }

    /// Removes a pod and its containers. An unknown pod is removed already.
    pub async fn remove_pod(&self, id: &str) -> Result<(), Failure> {
        match self.core.pods.find(id, "pod sandbox")? {
            Some(pod) => act::remove_pod::remove_pod(&self.core, pod).await,
            None => Ok(()),
        }
    }

    /// All pods that are ready or not ready any more.
    pub fn pods(&self) -> Vec<Arc<PodView>> {
        let visible = |pod: &Arc<Pod>| matches!(pod.state(), PodState::Ready | PodState::NotReady);
        self.core.pods.all().iter().filter(|pod| visible(pod)).map(|pod| pod.view()).collect()
    }

    /// The pod with this id, or with the only id that begins so.
    pub fn find_pod(&self, id: &str) -> Result<Arc<PodView>, Failure> {
        self.core.pod(id).map(|pod| pod.view())
    }

    /// Creates a container in a ready pod; the same request again joins the first.
    pub async fn create_container(&self, pod: &str, spec: ContainerSpec) -> Result<ContainerId, Failure> {
        let pod = self.core.pod(pod)?;
        act::create_container::create_container(&self.core, pod, spec).await
    }

    pub async fn start_container(&self, id: &str) -> Result<(), Failure> {
        let container = self.core.container(id)?;
        act::start_container::start_container(&self.core, container).await
    }

    /// Sends the container's stop signal, waits for `grace`, and kills it. An unknown container is stopped already.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Failure> {
        match self.core.containers.find(id, "container")? {
            Some(container) => act::stop_container::stop_container(&self.core, container, grace).await,
            None => Ok(()),
        }
    }

    /// Kills and removes a container. An unknown container is removed already.
    pub async fn remove_container(&self, id: &str) -> Result<(), Failure> {
        match self.core.containers.find(id, "container")? {
            Some(container) => act::remove_container::remove_container(&self.core, container).await,
            None => Ok(()),
        }
    }

    /// All containers that are not being removed.
    pub fn containers(&self) -> Vec<Arc<ContainerView>> {
        let views = self.core.containers.all().into_iter().map(|container| container.view());
        views.filter(|view| view.state != ContainerState::Removing).collect()
    }

    /// The container with this id, or with the only id that begins so.
    pub fn find_container(&self, id: &str) -> Result<Arc<ContainerView>, Failure> {
        let view = self.core.container(id)?.view();
        if view.state == ContainerState::Removing { Err(not_found("container", id)) } else { Ok(view) }
    }

    /// The steps that start a container, one a line.
    pub async fn explain_container(&self, id: &str) -> Result<String, Failure> {
        let container = self.core.container(id)?;
        act::start_container::explain(&self.core, container).await
    }

    /// Runs a command in a running container and gives its output, cut at a bound without error.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, Failure> {
        let container = self.core.container(id)?;
        act::exec_sync::exec_sync(&self.core, container, command, timeout).await
    }

    /// The whole id of a container in which a command can be run, and to which one can attach.
    ///
    /// # Errors
    /// There is none, or it is not running.
    pub fn running_container(&self, id: &str) -> Result<Arc<ContainerView>, Failure> {
        let container = self.core.container(id)?;
        container.admit(ContainerRequest::Exec)?;
        Ok(container.view())
    }

    /// Starts a command in a running container and gives the ends of its streams.
    pub async fn exec(&self, id: &str, command: &[String], streams: ExecStreams) -> Result<(Exec, ExecEnds), Failure> {
        let container = self.core.container(id)?;
        act::exec::exec(&self.core, container, command, streams).await
    }

    /// Attaches to the streams of a running container's first process.
    pub async fn attach(&self, id: &str, streams: AttachStreams) -> Result<(Attachment, AttachEnds), Failure> {
        let container = self.core.container(id)?;
        act::attach::attach(&self.core, container, streams).await
    }

    /// A pod whose ports can be connected to.
    ///
    /// # Errors
    /// There is none, or it is not ready.
    pub fn ready_pod(&self, id: &str) -> Result<Arc<PodView>, Failure> {
        let pod = self.core.pod(id)?;
        pod.admit(PodRequest::PortForward)?;
        Ok(pod.view())
    }

    /// Connects to a port inside a pod, on 127.0.0.1 or else ::1. The socket does not block.
    pub async fn dial(&self, pod: &str, port: u16) -> Result<OwnedFd, Failure> {
        act::dial::dial(self.core.pod(pod)?, port).await
    }

    /// Makes the shim write to a new log file after a rotation.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Failure> {
        let container = self.core.container(id)?;
        act::reopen_log::reopen_log(&self.core, &container).await
    }

    /// Changes the limits of a container, all or none.
    pub async fn update_resources(&self, id: &str, resources: Resources) -> Result<(), Failure> {
        let container = self.core.container(id)?;
        act::update_resources::update_resources(&self.core, container, resources).await
    }

    /// What these containers use now, in their order.
    pub async fn container_usage(&self, containers: Vec<Arc<ContainerView>>) -> Result<Vec<ContainerUsage>, Failure> {
        usage::containers(&self.core, containers).await
    }

    /// What these pods use now; those that ended meanwhile are left out.
    pub async fn pod_usage(&self, pods: Vec<Arc<PodView>>) -> Result<Vec<PodUsage>, Failure> {
        usage::pods(&self.core, pods).await
    }

    pub fn status(&self) -> EngineStatus {
        let pods = self.core.pods.all();
        EngineStatus {
            network_failure: self.core.ports.network.status().err(),
            pods: pods.len(),
            containers: self.core.containers.all().len(),
            repairs: pods
                .iter()
                .flat_map(|pod| pod.view().leftovers.clone())
                .chain(self.core.repairs.waiting())
                .collect(),
            damaged: self.core.damaged.read().unwrap_or_else(PoisonError::into_inner).clone(),
            warnings: self.core.settings.facts.warnings.clone(),
        }
    }
}

impl Core {
    /// # Errors
    /// There is none, or more than one id begins so.
    pub fn pod(&self, id: &str) -> Result<Arc<Pod>, Failure> {
        let pod = self.pods.find(id, "pod sandbox")?;
        pod.filter(|pod| pod.state() != PodState::Creating && pod.state() != PodState::Removing)
            .ok_or_else(|| not_found("pod sandbox", id))
    }

    /// # Errors
    /// There is none, or more than one id begins so.
    pub fn container(&self, id: &str) -> Result<Arc<Container>, Failure> {
        self.containers.find(id, "container")?.ok_or_else(|| not_found("container", id))
    }

    /// The pod of a container.
    pub fn pod_of(&self, container: &Container) -> Result<Arc<Pod>, Failure> {
        self.pods.get(&container.pod).ok_or_else(|| not_found("pod sandbox", container.pod.as_str()))
    }

    /// The folder of a pod's own files.
    pub fn pod_folder(&self, pod: &PodId) -> PathBuf {
        self.settings.state.join("pods").join(pod.as_str())
    }
}

fn not_found(what: &str, id: &str) -> Failure {
    Failure::new(Class::NotFound, format!("{what} {id:?} is not there"))
}

/// Objects by id. The lock is held for a look or an insertion alone.
pub(crate) struct Index<I, T> {
    map: RwLock<HashMap<I, Arc<T>>>,
}

impl<I, T> Default for Index<I, T> {
    fn default() -> Self {
        Index { map: RwLock::default() }
    }
}

impl<I: Eq + Hash + Clone + Named, T> Index<I, T> {
    pub fn insert(&self, id: I, object: Arc<T>) {
        self.map.write().unwrap_or_else(PoisonError::into_inner).insert(id, object);
    }

    pub fn remove(&self, id: &I) {
        self.map.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub fn get(&self, id: &I) -> Option<Arc<T>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<T>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The object with this id or, for people, the only one whose id begins so.
    ///
    /// # Errors
    /// More than one id begins so.
    pub fn find(&self, text: &str, what: &str) -> Result<Option<Arc<T>>, Failure> {
        if let Some(id) = I::parse(text) {
            return Ok(self.get(&id));
        }
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = map.iter().filter(|(id, _)| !text.is_empty() && id.text().starts_with(text));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => {
                let text = format!("more than one {what} has an id that begins with {text:?}");
                Err(Failure::new(Class::Invalid, text).with_hint("give more digits"))
            }
            (first, _) => Ok(first.map(|(_, object)| object.clone())),
        }
    }
}

/// An id that can be written and read.
pub(crate) trait Named: Sized {
    fn parse(text: &str) -> Option<Self>;
    fn text(&self) -> &str;
}

impl Named for PodId {
    fn parse(text: &str) -> Option<Self> {
        PodId::parse(text).ok()
    }
    fn text(&self) -> &str {
        self.as_str()
    }
}

impl Named for ContainerId {
    fn parse(text: &str) -> Option<Self> {
        ContainerId::parse(text).ok()
    }
    fn text(&self) -> &str {
        self.as_str()
    }
}

/// Runs an act that goes on when the one who asked for it leaves, and waits for it.
pub(crate) async fn detached<T: Send + 'static>(
    act: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    joined(request::spawn(act).await)
}

/// What came of a task. A panic in it is an answer like any other: nobody who waits is left alone.
pub fn joined<T>(outcome: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    outcome.unwrap_or_else(|error| {
        Err(match error.is_panic() {
            true => Failure::new(Class::Bug, format!("the work on this request ran into a defect: {error}")),
            false => Failure::new(Class::Unavailable, "the daemon is stopping"),
        })
    })
}
