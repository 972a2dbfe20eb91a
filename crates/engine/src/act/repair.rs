//! The repairer: removals that could not be ended are tried again, with growing pauses, until they are done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cradle_domain::PodId;
use tokio::sync::Notify;

use super::tear_down;
use crate::engine::Core;
use crate::limits;

/// Pods whose removal is not ended.
#[derive(Default)]
pub(crate) struct Repairs {
    pods: Mutex<HashMap<PodId, Duration>>,
    added: Notify,
}

impl Repairs {
    /// Hands a pod over.
    pub fn add(&self, pod: PodId) {
        self.lock().entry(pod).or_insert(limits::REPAIR_FIRST);
        self.added.notify_one();
    }

    /// What waits, in words.
    pub fn waiting(&self) -> Vec<String> {
        self.lock().iter().map(|(pod, pause)| format!("removal of pod {pod}, tried every {pause:?}")).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PodId, Duration>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shortest_pause(&self) -> Option<Duration> {
        self.lock().values().min().copied()
    }
}

/// Begins to repair, for as long as the engine lives.
pub(crate) fn start(core: &Arc<Core>) {
    let weak = Arc::downgrade(core);
    tokio::spawn(async move {
        while let Some(core) = weak.upgrade() {
            match core.repairs.shortest_pause() {
                None => core.repairs.added.notified().await,
                Some(pause) => {
                    tokio::time::sleep(pause).await;
                    try_all(&core).await;
                }
            }
        }
    });
}

async fn try_all(core: &Arc<Core>) {
    let pods: Vec<PodId> = core.repairs.lock().keys().cloned().collect();
    for id in pods {
        let done = match core.pods.get(&id) {
            None => true,
            Some(pod) => {
                let _alone = pod.lane.write().await;
                tear_down::pod(core, &pod).await.is_ok()
            }
        };
        let mut waiting = core.repairs.lock();
        if done {
            waiting.remove(&id);
        } else if let Some(pause) = waiting.get_mut(&id) {
            *pause = (*pause * 2).min(limits::REPAIR_LONGEST);
        }
    }
}
