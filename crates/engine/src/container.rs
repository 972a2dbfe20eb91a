//! One container in memory: its state, and the snapshot that readers see. As for pods, the state changes only by
//! [`cradle_domain::lifecycle`], under a lock held for the change alone.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cradle_domain::lifecycle::Admission;
use cradle_domain::lifecycle::container::{self as lifecycle, ContainerEvent, ContainerRequest, ContainerState};
use cradle_domain::{Class, ContainerId, Failure, PodId, Signal, Timestamp};
use cradle_executor::plan::{ContainerPlan, ExecPlan};
use cradle_shim::protocol::Exit;
use tokio::sync::{OnceCell, watch};

use crate::ports::ContainerRecord;
use crate::spec::{ContainerSpec, Resources};
use crate::view::{ContainerImage, ContainerUser, ContainerView, ImageConfig};

/// What never changes of a container.
pub(crate) struct Container {
    pub id: ContainerId,
    pub pod: PodId,
    pub spec: Arc<ContainerSpec>,
    pub image: ContainerImage,
    pub image_config: ImageConfig,
    pub user: ContainerUser,
    pub created_at: Timestamp,
    pub stop_signal: Signal,
    pub log_path: String,
    pub cgroup: String,
    /// Starting and removing exclude each other. Stopping does not wait here: a second stop may be shorter.
    pub lane: tokio::sync::Mutex<()>,
    /// Made once, before the first start.
    pub plan: OnceCell<Arc<ContainerPlan>>,
    /// Made once, by the first exec: later ones only change arguments and terminal.
    pub exec_plan: OnceCell<ExecPlan>,
    inner: Mutex<Inner>,
    state_changes: watch::Sender<ContainerState>,
}

struct Inner {
    started_at: Timestamp,
    finished_at: Timestamp,
    pid: Option<i32>,
    exit: Option<Exit>,
    reason: String,
    message: String,
    resources: Resources,
    log_lost_bytes: u64,
    state: ContainerState,
    view: Arc<ContainerView>,
}

/// Why a container is not running any more: one CamelCase word for `reason`.
pub(crate) fn exit_reason(exit: &Exit) -> &'static str {
    match (exit.oom_killed, exit.code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    }
}

impl Container {
    /// A container as its record tells of it.
    pub fn restore(record: ContainerRecord, writable_layer: PathBuf) -> Arc<Self> {
        let spec = Arc::new(record.spec);
        let view = Arc::new(ContainerView {
            id: record.id.clone(),
            pod: record.pod.clone(),
            spec: spec.clone(),
            image: record.image.clone(),
            state: record.state,
            created_at: record.created_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
            pid: None,
            exit: record.exit,
            reason: record.reason.clone(),
            message: record.message.clone(),
            resources: record.resources.clone(),
            stop_signal: record.stop_signal,
            log_path: record.log_path.clone(),
            log_lost_bytes: 0,
            user: record.user.clone(),
            cgroup: record.cgroup.clone(),
            writable_layer,
        });
        Arc::new(Container {
            id: record.id,
            pod: record.pod,
            spec,
            image: record.image,
            image_config: record.image_config,
            user: record.user,
            created_at: record.created_at,
            stop_signal: record.stop_signal,
            log_path: record.log_path,
            cgroup: record.cgroup,
            lane: tokio::sync::Mutex::default(),
            plan: OnceCell::new(),
            exec_plan: OnceCell::new(),
            state_changes: watch::Sender::new(record.state),
            inner: Mutex::new(Inner {
                started_at: record.started_at,
                finished_at: record.finished_at,
                pid: None,
                exit: record.exit,
                reason: record.reason,
                message: record.message,
                resources: record.resources,
                log_lost_bytes: 0,
                state: record.state,
                view,
            }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the container and publishes what came of it.
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let state = {
            let mut inner = self.inner();
            change(&mut inner);
            let view = ContainerView {
                state: inner.state,
                started_at: inner.started_at,
                finished_at: inner.finished_at,
                pid: inner.pid,
                exit: inner.exit,
                reason: inner.reason.clone(),
                message: inner.message.clone(),
                resources: inner.resources.clone(),
                log_lost_bytes: inner.log_lost_bytes,
                ..ContainerView::clone(&inner.view)
            };
            inner.view = Arc::new(view);
            inner.state
        };
        self.state_changes.send_replace(state);
    }

    pub fn view(&self) -> Arc<ContainerView> {
        self.inner().view.clone()
    }

    pub fn state(&self) -> ContainerState {
        self.inner().state
    }

    /// The record of what the container is now.
    pub fn record(&self) -> ContainerRecord {
        let inner = self.inner();
        ContainerRecord {
            id: self.id.clone(),
            pod: self.pod.clone(),
            spec: ContainerSpec::clone(&self.spec),
            image: self.image.clone(),
            image_config: self.image_config.clone(),
            state: inner.state,
            created_at: self.created_at,
            started_at: inner.started_at,
            finished_at: inner.finished_at,
            exit: inner.exit,
            reason: inner.reason.clone(),
            message: inner.message.clone(),
            resources: inner.resources.clone(),
            stop_signal: self.stop_signal,
            log_path: self.log_path.clone(),
            user: self.user.clone(),
            cgroup: self.cgroup.clone(),
        }
    }

    /// # Errors
    /// The request is refused in the container's state.
    pub fn admit(&self, request: ContainerRequest) -> Result<Admission, Failure> {
        match lifecycle::admit(self.state(), request) {
            Admission::Refused(why) => Err(Failure::new(Class::Refused, format!("container {}: {why}", self.id))),
            admitted @ (Admission::Accept | Admission::Already) => Ok(admitted),
        }
    }

    fn observe(inner: &mut Inner, event: ContainerEvent) {
        inner.state = lifecycle::observe(inner.state, event);
    }

    pub fn start_begun(&self) {
        self.change(|inner| Self::observe(inner, ContainerEvent::StartBegun));
    }

    /// The process runs, or ran: its end may have been told before its start was.
    pub fn started(&self, pid: i32, at: Timestamp) {
        self.change(|inner| {
            inner.started_at = at;
            Self::observe(inner, ContainerEvent::Started);
            inner.pid = (inner.state == ContainerState::Running).then_some(pid);
        });
    }

    /// It could not be started.
    pub fn start_failed(&self, message: String) {
        self.change(|inner| {
            Self::observe(inner, ContainerEvent::Exited);
            inner.finished_at = Timestamp::now();
            inner.exit = Some(Exit { code: 128, at: inner.finished_at, oom_killed: false, timed_out: false });
            inner.reason = "StartError".into();
            inner.message = message;
        });
    }

    /// A start that did not happen although it was begun: the pod went away under it.
    pub fn exited(&self, exit: Exit, reason: &str, message: &str) {
        self.change(|inner| {
            if !matches!(inner.state, ContainerState::Exited | ContainerState::Removing) || inner.exit.is_none() {
                inner.exit = Some(exit);
                inner.finished_at = exit.at;
                if !inner.started_at.is_set() {
                    inner.started_at = exit.at;
                }
                inner.reason = reason.into();
                inner.message = message.into();
            }
            Self::observe(inner, ContainerEvent::Exited);
            inner.pid = None;
        });
    }

    pub fn removal_begun(&self) {
        self.change(|inner| {
            Self::observe(inner, ContainerEvent::RemovalBegun);
        });
    }

    pub fn log_lost(&self, bytes: u64) {
        self.change(|inner| inner.log_lost_bytes = inner.log_lost_bytes.saturating_add(bytes));
    }

    pub fn set_resources(&self, resources: Resources) {
        self.change(|inner| inner.resources = resources);
    }

    pub fn resources(&self) -> Resources {
        self.inner().resources.clone()
    }

    /// Whether a process of it may be alive.
    pub fn is_alive(&self) -> bool {
        let inner = self.inner();
        match inner.state {
            ContainerState::Starting | ContainerState::Running => true,
            ContainerState::Removing => inner.exit.is_none() && inner.started_at.is_set(),
            ContainerState::Created | ContainerState::Exited => false,
        }
    }

    /// Waits until no process of it is alive.
    pub async fn dead(&self) {
        // The sender lives as long as `self`.
        let _ = self.state_changes.subscribe().wait_for(|_| !self.is_alive()).await;
    }
}
