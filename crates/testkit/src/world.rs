//! A world without a kernel: fakes of every port of the engine, whose state outlives the engine as disks and shims
//! outlive a daemon.
//!
//! Every call of a port that changes something is counted twice: before its effect and after it. At the chosen count the
//! daemon "dies": this and every later call of that life never returns. A test then makes a new [`Life`] on the same
//! world and looks at what the new engine makes of it.

mod images;
mod network;
mod records;
mod shims;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cradle_domain::{ContainerId, Failure, PodId};
use cradle_engine::ports::{ContainerRecord, PodRecord, Ports};
use cradle_engine::view::ImageView;

pub use images::image;

/// What outlives a daemon.
#[derive(Default)]
pub struct World {
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub pods: BTreeMap<PodId, PodRecord>,
    pub containers: BTreeMap<ContainerId, ContainerRecord>,
    pub layers: BTreeSet<ContainerId>,
    pub leases: BTreeMap<PodId, IpAddr>,
    pub images: Vec<Arc<ImageView>>,
    pub shims: BTreeMap<PodId, shims::FakeShim>,
    /// Acts that fail, by name.
    pub failures: BTreeMap<&'static str, Failures>,
    /// The act that panics once, by name.
    pub panic: Option<&'static str>,
    /// The act before which all shims die once, by name.
    pub deadly: Option<&'static str>,
}

/// How often an act fails, after it has been done how often.
pub(crate) struct Failures {
    after: u32,
    times: u32,
}

impl State {
    /// Whether the act fails this time.
    fn fails(&mut self, name: &str) -> bool {
        let Some(failures) = self.failures.get_mut(name) else { return false };
        if failures.after > 0 {
            failures.after -= 1;
            return false;
        }
        let fails = failures.times > 0;
        failures.times = failures.times.saturating_sub(1);
        fails
    }
}

/// What there is of pods and containers, apart from what the engine says.
#[derive(Debug, PartialEq, Eq)]
pub struct Inventory {
    pub pod_records: BTreeSet<PodId>,
    pub container_records: BTreeSet<ContainerId>,
    pub layers: BTreeSet<ContainerId>,
    pub leases: BTreeSet<PodId>,
    pub shims: BTreeSet<PodId>,
    pub running: BTreeSet<ContainerId>,
}

impl Inventory {
    pub fn is_empty(&self) -> bool {
        self.pod_records.is_empty()
            && self.container_records.is_empty()
            && self.layers.is_empty()
            && self.leases.is_empty()
            && self.shims.is_empty()
            && self.running.is_empty()
    }
}

impl World {
    /// A world with one image, called `image`.
    pub fn new() -> Arc<Self> {
        let world = World::default();
        world.state().images.push(image());
        Arc::new(world)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the act `name` fail `times` times.
    pub fn fail(&self, name: &'static str, times: u32) {
        self.state().failures.insert(name, Failures { after: 0, times });
    }

    /// Makes the act `name` fail once, when it has been done so many times.
    pub fn fail_after(&self, name: &'static str, done: u32) {
        self.state().failures.insert(name, Failures { after: done, times: 1 });
    }

    /// Kills the shims that there are before the act `name`.
    pub fn kill_shims_before(&self, name: &'static str) {
        self.state().deadly = Some(name);
    }

    /// Makes the act `name` panic once, as a defect would.
    pub fn panic(&self, name: &'static str) {
        self.state().panic = Some(name);
    }

    /// Whether the act that shall panic has done so.
    pub fn has_panicked(&self) -> bool {
        self.state().panic.is_none()
    }

    /// Kills a pod's shim, and its containers with it.
    pub fn kill_shim(&self, pod: &PodId) {
        self.state().end_shim(pod);
    }

    /// Makes a pod's shim answer nobody until it is killed.
    pub fn silence_shim(&self, pod: &PodId) {
        self.state().shims.entry(pod.clone()).and_modify(shims::FakeShim::silence);
    }

    /// Lets a container's first process end.
    pub fn end_container(&self, container: &ContainerId, code: i32) {
        let mut state = self.state();
        state.shims.values_mut().for_each(|shim| shim.end(container, code));
    }

    /// Lets a container print; says to how many who are attached.
    pub fn print(&self, container: &ContainerId, text: &[u8]) -> usize {
        let mut state = self.state();
        state.shims.values_mut().map(|shim| shim.streams.print(container, text)).sum()
    }

    /// Commands that have begun.
    pub fn commands(&self) -> usize {
        self.state().shims.values().map(|shim| shim.streams.commands()).sum()
    }

    /// Signals that were sent to commands.
    pub fn signalled(&self) -> Vec<i32> {
        self.state().shims.values().flat_map(|shim| shim.streams.signalled.clone()).collect()
    }

    pub fn inventory(&self) -> Inventory {
        let state = self.state();
        Inventory {
            pod_records: state.pods.keys().cloned().collect(),
            container_records: state.containers.keys().cloned().collect(),
            layers: state.layers.clone(),
            leases: state.leases.keys().cloned().collect(),
            shims: state.shims.keys().cloned().collect(),
            running: state.shims.values().flat_map(shims::FakeShim::running).collect(),
        }
    }
}

/// One daemon's life in a world.
pub struct Life {
    world: Arc<World>,
    count: AtomicU64,
    /// The count at which the daemon dies.
    end: u64,
    over: tokio::sync::watch::Sender<bool>,
}

impl Life {
    /// A life that ends at the call with this count; `u64::MAX`: it does not.
    pub fn new(world: &Arc<World>, end: u64) -> Arc<Self> {
        Arc::new(Life {
            world: world.clone(),
            count: AtomicU64::new(0),
            end,
            over: tokio::sync::watch::Sender::new(false),
        })
    }

    /// Calls so far, each counted twice.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed).min(self.end)
    }

    /// Waits until the daemon has died.
    pub async fn over(&self) {
        // The sender lives as long as `self`.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// The ports of an engine that lives this life.
    pub fn ports(self: &Arc<Self>) -> Ports {
        Ports {
            records: Arc::new(records::FakeRecords { life: self.clone() }),
            images: Arc::new(images::FakeImages { life: self.clone() }),
            network: Arc::new(network::FakeNetwork { life: self.clone() }),
            shims: Arc::new(shims::FakeShims { life: self.clone() }),
        }
    }

    /// One act: counted, perhaps failing, perhaps the last.
    pub(crate) async fn act<T>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.point().await;
        let panics = self.world.state().panic.take_if(|panic| *panic == name).is_some();
        assert!(!panics, "{name} panics as the test wants");
        let result = {
            let mut state = self.world.state();
            if !state.shims.is_empty() && state.deadly.take_if(|deadly| *deadly == name).is_some() {
                let all: Vec<_> = state.shims.keys().cloned().collect();
                all.iter().for_each(|pod| state.end_shim(pod));
            }
            if state.fails(name) {
                Err(Failure::new(cradle_domain::Class::Unavailable, format!("{name} fails as the test wants")))
            } else {
                effect(&mut state)
            }
        };
        self.point().await;
        result
    }

    /// A place at which the daemon may die.
    async fn point(&self) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count >= self.end {
            self.over.send_replace(true);
            std::future::pending::<()>().await;
        }
        // As a real act gives way to others.
        tokio::task::yield_now().await;
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }
}
