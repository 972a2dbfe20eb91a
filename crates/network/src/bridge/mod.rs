//! The built-in pod network: one bridge on the host, a veth pair for each pod, addresses from leases of our own, and an
//! nf_tables table for what leaves the host and what comes in by host ports.
//!
//! ```text
//!   pod: eth0 10.88.0.2 ───veth─── cr0123456789abc ┐
//!   pod: eth0 10.88.0.3 ───veth─── crfedcba9876543 ┴ cradle0 10.88.0.1/16 ── routing, nf_tables ── the host's links
//! ```
//!
//! Pods are configured through a netlink socket that was opened inside their namespace, so no thread of ours ever enters
//! one, and no program is run.
//!
//! What is where: [`config`] and [`subnet`] say what can be configured, `leases` who holds which address, `link` speaks
//! about links, `nftables` about the packet filter, `flows` about connection tracking; `setup`, `attach` and `detach` are
//! the acts, `deferred` is what they leave behind. This file is the asynchronous side: it moves the acts, which block in the kernel, off the runtime's threads.

mod attach;
pub mod config;
mod deferred;
mod detach;
mod flows;
mod leases;
mod limits;
mod link;
mod nftables;
mod ports;
mod setup;
pub mod subnet;
mod sysctl;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use cradle_domain::failure::Chain;
use cradle_domain::{Class, Classified, Failure, PodId};
use cradle_engine::ports::{Act, Attachment, NetworkAttachment, PodNetwork};
use tokio::sync::Semaphore;

use self::config::{BridgeConfig, ConfigError};
use self::deferred::Deferred;
use self::leases::{Leases, LoadError};
use self::limits::{CONCURRENT_ACTS, CONCURRENT_DEFERRALS, IDLE_BEFORE_REMOVAL, LINK_REMOVAL_DELAY};
use self::nftables::Table;
use self::setup::SetupError;
use crate::netlink::{Family, Socket};

/// The built-in pod network.
#[derive(Debug, Clone)]
pub struct Bridge {
    network: Arc<Network>,
    acts: Arc<Semaphore>,
    deferrals: Arc<Semaphore>,
    /// Whether a task waits for the network to be unused for a while.
    removal_awaited: Arc<AtomicBool>,
}

/// Why the built-in pod network cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    #[error("the configuration of the pod network cannot work")]
    Config { source: ConfigError },
    #[error("cannot read the leases of the pod network")]
    Leases { source: LoadError },
}

impl Classified for BridgeError {
    fn class(&self) -> Class {
        match self {
            BridgeError::Config { source } => source.class(),
            BridgeError::Leases { source } => source.class(),
        }
    }
}

impl Bridge {
    /// Reads the leases, makes what the pods that hold them need, and removes what is left of those that are gone. Blocks
    /// for milliseconds: to be called before requests are served. A host that is not fit for it is no error here but in
    /// [`PodNetwork::status`], as pods on the host's network can run.
    pub fn new(config: BridgeConfig) -> Result<Self, BridgeError> {
        config.validate().map_err(|source| BridgeError::Config { source })?;
        let leases = Leases::load(&config.leases_dir, &config.boot_id, &config.subnets)
            .map_err(|source| BridgeError::Leases { source })?;
        let table = Table::new(&config.bridge, &config.subnets, config.masquerade);
        let network = Network {
            config,
            leases,
            table: Mutex::new(table),
            shared: RwLock::new(None),
            trouble: Mutex::new(None),
            unused_since: Mutex::new(Instant::now()),
        };
        network.begin();
        Ok(Bridge {
            network: Arc::new(network),
            acts: Arc::new(Semaphore::new(CONCURRENT_ACTS)),
            deferrals: Arc::new(Semaphore::new(CONCURRENT_DEFERRALS)),
            removal_awaited: Arc::default(),
        })
    }

    /// Removes the bridge and the table at once if no pod holds an address, instead of a while after the last. To be
    /// called when the daemon ends; what pods need stays.
    pub async fn close(&self) {
        let removed = self.blocking(&self.deferrals, |bridge| bridge.network.remove_if_idle()).await;
        removed.unwrap_or_else(warn_of_panic);
    }

    /// Runs an act where it may block, at most as many at once as the semaphore has permits. Once begun it runs to its end,
    /// whether somebody still waits for it or not.
    async fn blocking<T: Send + 'static>(
        &self,
        permits: &Arc<Semaphore>,
        act: impl FnOnce(&Bridge) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let permit =
            Arc::clone(permits).acquire_owned().await.map_err(|error| Failure::new(Class::Bug, error.to_string()))?;
        let bridge = self.clone();
        let ran = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            act(&bridge)
        });
        ran.await.map_err(|error| Failure::new(Class::Bug, format!("an act of the pod network did not end: {error}")))
    }

    /// Does behind an act what it left to be done.
    fn defer(&self, deferred: Deferred) {
        if !deferred.is_nothing() {
            let bridge = self.clone();
            tokio::spawn(async move {
                if deferred.link.is_some() {
                    tokio::time::sleep(LINK_REMOVAL_DELAY).await;
                }
                let finished = bridge.blocking(&bridge.deferrals, |_| deferred.finish()).await;
                finished.unwrap_or_else(warn_of_panic);
            });
        }
    }

    /// Has the network removed when it stays unused for a while.
    fn remove_later(&self) {
        if self.network.leases.is_empty() && !self.removal_awaited.swap(true, Ordering::AcqRel) {
            let bridge = self.clone();
            tokio::spawn(async move { bridge.remove_when_idle().await });
        }
    }

    /// Waits until the network was unused for a while and removes it, unless a pod comes first.
    async fn remove_when_idle(&self) {
        loop {
            let until = *self.network.unused_since() + IDLE_BEFORE_REMOVAL;
            tokio::time::sleep_until(until.into()).await;
            if *self.network.unused_since() + IDLE_BEFORE_REMOVAL <= Instant::now() {
                break;
            }
        }
        // Before the look: a detachment after it then begins another wait.
        self.removal_awaited.store(false, Ordering::Release);
        self.close().await;
    }
}

fn warn_of_panic(failure: Failure) {
    tracing::warn!(%failure, "tidying up after a pod");
}

impl PodNetwork for Bridge {
    fn attach(&self, attachment: Attachment) -> Act<'_, NetworkAttachment> {
        Box::pin(async move {
            let attach = |bridge: &Bridge| {
                let (attached, deferred) = bridge.network.attach(attachment)?;
                bridge.defer(deferred);
                Ok(attached)
            };
            self.blocking(&self.acts, attach).await?
        })
    }

    fn detach(&self, pod: &PodId) -> Act<'_, ()> {
        let pod = pod.clone();
        Box::pin(async move {
            let detach = move |bridge: &Bridge| {
                bridge.defer(bridge.network.detach(&pod)?);
                bridge.remove_later();
                Ok(())
            };
            self.blocking(&self.acts, detach).await?
        })
    }

    fn owners(&self) -> Act<'_, Vec<PodId>> {
        Box::pin(async move { Ok(self.network.leases.owners()) })
    }

    fn status(&self) -> Result<(), Failure> {
        self.network.status()
    }
}

/// What pods are connected with; its acts block.
#[derive(Debug)]
struct Network {
    config: BridgeConfig,
    leases: Leases,
    table: Mutex<Table>,
    /// None: not made yet, or removed. Attachments hold it for reading, so that it is not removed under them.
    shared: RwLock<Option<Shared>>,
    /// Why the last set-up failed.
    trouble: Mutex<Option<Trouble>>,
    unused_since: Mutex<Instant>,
}

/// What all pods share, as it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shared {
    /// The index of the bridge.
    bridge: u32,
    mtu: u32,
}

#[derive(Debug)]
struct Trouble {
    class: Class,
    text: String,
    hint: Option<String>,
}

impl Trouble {
    fn new(error: &SetupError) -> Self {
        Trouble { class: error.class(), text: Chain(error).to_string(), hint: error.hint() }
    }

    fn failure(&self) -> Failure {
        let failure = Failure::new(self.class, self.text.clone());
        match &self.hint {
            Some(hint) => failure.with_hint(hint.clone()),
            None => failure,
        }
    }
}

/// What pods share, kept from being removed.
struct InUse<'a> {
    shared: Shared,
    _kept: RwLockReadGuard<'a, Option<Shared>>,
}

impl Deref for InUse<'_> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Network {
    /// After a restart, also of the machine.
    fn begin(&self) {
        if !self.leases.is_empty() {
            // Whatever happened to the bridge and the table since, the pods have them again.
            if let Err(error) = self.shared() {
                tracing::warn!(error = %Chain(&error), "the pods that run may have lost their network");
            }
            return;
        }
        self.remove_if_idle();
        let inspected = Socket::open(Family::Route)
            .map_err(|source| SetupError::Inspect { bridge: self.config.bridge.clone(), source })
            .and_then(|mut socket| self.inspect(&mut socket));
        *self.trouble() = inspected.err().map(|error| Trouble::new(&error));
    }

    fn remove_if_idle(&self) {
        if let Err(error) = self.remove_if_unused() {
            tracing::warn!(error = %Chain(&error), "what unused pod networks leave is removed at the next start");
        }
    }

    /// What pods share, made first if it is not there.
    fn shared(&self) -> Result<InUse<'_>, SetupError> {
        loop {
            let kept = self.shared.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(shared) = *kept {
                return Ok(InUse { shared, _kept: kept });
            }
            drop(kept);
            let mut shared = self.shared_for_change();
            if shared.is_none() {
                let made = self.set_up();
                *self.trouble() = made.as_ref().err().map(Trouble::new);
                *shared = Some(made?);
            }
        }
    }

    /// Whether the bridge that we know is gone; then it is made again when it is needed.
    fn forget_lost_bridge(&self) -> bool {
        let mut shared = self.shared_for_change();
        let found = Socket::open(Family::Route).and_then(|mut socket| link::by_name(&mut socket, &self.config.bridge));
        let lost = found.is_ok_and(|found| found.map(|link| link.index) != shared.map(|shared| shared.bridge));
        if lost {
            *shared = None;
        }
        lost
    }

    /// Usable unless the last set-up failed and would fail now: the reason may have gone away meanwhile, and no pod comes
    /// to find out while it is not.
    fn status(&self) -> Result<(), Failure> {
        let mut trouble = self.trouble();
        let Some(known) = &*trouble else { return Ok(()) };
        match Socket::open(Family::Route) {
            Ok(mut socket) => *trouble = self.inspect(&mut socket).err().map(|error| Trouble::new(&error)),
            Err(_) => return Err(known.failure()),
        }
        trouble.as_ref().map_or(Ok(()), |trouble| Err(trouble.failure()))
    }

    fn shared_for_change(&self) -> RwLockWriteGuard<'_, Option<Shared>> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unused_since(&self) -> MutexGuard<'_, Instant> {
        self.unused_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
