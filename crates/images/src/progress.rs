//! Tells whoever watches a pull how far its layers are. Watchers may come late: they are told the present state first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cradle_engine::ports::{LayerProgress, ProgressSink};

/// The progress of one piece of work and those who watch it.
#[derive(Default)]
pub struct Board {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    watchers: Vec<(u64, ProgressSink)>,
    latest: Vec<LayerProgress>,
}

/// Ends a watcher's interest when it is dropped.
pub struct Watching {
    board: Arc<Board>,
    number: u64,
}

impl Board {
    pub fn publish(&self, progress: LayerProgress) {
        let mut state = self.lock();
        for (_, watcher) in &state.watchers {
            watcher(progress.clone());
        }
        match state.latest.iter_mut().find(|known| known.layer == progress.layer) {
            Some(known) => *known = progress,
            None => state.latest.push(progress),
        }
    }

    pub fn watch(self: &Arc<Self>, watcher: ProgressSink) -> Watching {
        let mut state = self.lock();
        state.latest.iter().cloned().for_each(|progress| watcher(progress));
        let number = state.next;
        state.next += 1;
        state.watchers.push((number, watcher));
        Watching { board: Arc::clone(self), number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.board.lock().watchers.retain(|(number, _)| *number != self.number);
    }
}
