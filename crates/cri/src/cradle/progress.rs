//! How far the layers of a pull are: written by the image store as fast as it likes, read by a client as slowly as it
//! likes. Only the latest state of each layer is kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cradle_cri_api::cradle_v1 as v1;
use cradle_engine::ports::{LayerProgress, LayerState, ProgressSink};
use tokio::sync::Notify;

/// The layers of one pull. Its size is bounded by the number of layers that an image may have.
#[derive(Default)]
pub struct Board {
    layers: Mutex<Vec<Entry>>,
    changed: Notify,
}

struct Entry {
    latest: LayerProgress,
    told: bool,
}

impl Board {
    /// What the image store writes to. It never waits for a reader.
    pub fn sink(self: &Arc<Self>) -> ProgressSink {
        let board = self.clone();
        Arc::new(move |progress| board.put(progress))
    }

    fn put(&self, progress: LayerProgress) {
        {
            let mut layers = self.lock();
            match layers.iter_mut().find(|entry| entry.latest.layer == progress.layer) {
                // That a layer was here says more than that it is here now.
                Some(entry) if entry.latest.state == LayerState::Present || entry.latest == progress => return,
                Some(entry) => *entry = Entry { latest: progress, told: false },
                None => layers.push(Entry { latest: progress, told: false }),
            }
        }
        self.changed.notify_one();
    }

    /// Waits until there is something that was not taken.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What has changed since it was taken last; layers in the order in which they were first told of.
    pub fn take(&self) -> Vec<v1::LayerProgress> {
        let mut layers = self.lock();
        let untold = layers.iter_mut().filter(|entry| !entry.told);
        untold
            .map(|entry| {
                entry.told = true;
                to_proto(&entry.latest)
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_proto(progress: &LayerProgress) -> v1::LayerProgress {
    let state = match progress.state {
        LayerState::Waiting => v1::LayerState::Waiting,
        LayerState::Fetching => v1::LayerState::Fetching,
        LayerState::Present => v1::LayerState::Present,
        LayerState::Done => v1::LayerState::Done,
    };
    v1::LayerProgress {
        digest: progress.layer.to_string(),
        state: state.into(),
        done_bytes: progress.done_bytes,
        total_bytes: progress.total_bytes,
    }
}

#[cfg(test)]
mod tests {
    use cradle_domain::Digest;

    use super::*;

    fn progress(layer: u8, state: LayerState, done_bytes: u64) -> LayerProgress {
        LayerProgress { layer: Digest::from_sha256([layer; 32]), state, done_bytes, total_bytes: 100 }
    }

    fn taken(board: &Board) -> Vec<(v1::LayerState, u64)> {
        board.take().iter().map(|layer| (layer.state(), layer.done_bytes)).collect()
    }

    #[tokio::test]
    async fn a_slow_reader_sees_the_latest_state_of_each_layer_once() {
        let board = Arc::new(Board::default());
        let tell = board.sink();
        tell(progress(1, LayerState::Waiting, 0));
        for done in 0..1000 {
            tell(progress(2, LayerState::Fetching, done));
        }
        board.changed().await;
        assert_eq!(taken(&board), [(v1::LayerState::Waiting, 0), (v1::LayerState::Fetching, 999)]);
        assert_eq!(taken(&board), []);
        tell(progress(2, LayerState::Done, 100));
        board.changed().await;
        assert_eq!(taken(&board), [(v1::LayerState::Done, 100)]);
    }

    #[tokio::test]
    async fn a_layer_that_was_present_stays_so() {
        let board = Arc::new(Board::default());
        let tell = board.sink();
        tell(progress(1, LayerState::Present, 100));
        tell(progress(1, LayerState::Done, 100));
        assert_eq!(taken(&board), [(v1::LayerState::Present, 100)]);
    }
}
