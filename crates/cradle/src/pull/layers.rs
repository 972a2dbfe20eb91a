//! How far the layers of a pull are, and how fast, as far as the daemon has told. Its clock is its caller's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cradle_cri_api::cradle_v1::LayerProgress;
pub use cradle_cri_api::cradle_v1::LayerState;

/// A layer's speed is that of the last so much time.
const SPEED_WINDOW: Duration = Duration::from_secs(3);

/// Looks at a layer that are remembered for its speed; the daemon tells ten times a second.
const SAMPLES_MAX: usize = 32;

/// The layers of one pull, in the order in which the daemon told of them.
pub struct Layers {
    pub all: Vec<Layer>,
    begun: Instant,
}

/// One layer.
pub struct Layer {
    /// The first digits of its digest.
    pub id: String,
    pub state: LayerState,
    pub done_bytes: u64,
    pub total_bytes: u64,
    /// When its first and its last byte came, as far as that was seen.
    begun: Option<Instant>,
    fetched: Option<Instant>,
    samples: VecDeque<(Instant, u64)>,
}

impl Layers {
    pub fn new(now: Instant) -> Self {
        Layers { all: Vec::new(), begun: now }
    }

    /// Takes in what the daemon tells; answers with the layers, by their place, that are here since now.
    pub fn update(&mut self, told: &[LayerProgress], now: Instant) -> Vec<usize> {
        let mut ended = Vec::new();
        for progress in told {
            let id = crate::table::short_id(&progress.digest);
            let at = self.all.iter().position(|layer| layer.id == id).unwrap_or_else(|| {
                self.all.push(Layer::new(id));
                self.all.len() - 1
            });
            let was_here = self.all[at].is_here();
            self.all[at].update(progress, now);
            if self.all[at].is_here() && !was_here {
                ended.push(at);
            }
        }
        ended
    }

    pub fn elapsed(&self, now: Instant) -> Duration {
        now - self.begun
    }
}

impl Layer {
    fn new(id: String) -> Self {
        Layer {
            id,
            state: LayerState::Waiting,
            done_bytes: 0,
            total_bytes: 0,
            begun: None,
            fetched: None,
            samples: VecDeque::new(),
        }
    }

    fn update(&mut self, progress: &LayerProgress, now: Instant) {
        self.state = progress.state();
        self.done_bytes = progress.done_bytes;
        self.total_bytes = progress.total_bytes;
        if self.state == LayerState::Fetching {
            self.begun.get_or_insert(now);
            if self.samples.len() == SAMPLES_MAX {
                self.samples.pop_front();
            }
            self.samples.push_back((now, self.done_bytes));
        }
        if self.is_fetched() {
            self.fetched.get_or_insert(now);
        }
    }

    /// Whether all its bytes have come.
    pub fn is_fetched(&self) -> bool {
        self.is_here() || self.total_bytes > 0 && self.done_bytes >= self.total_bytes
    }

    /// Whether there is nothing left to do for it.
    pub fn is_here(&self) -> bool {
        matches!(self.state, LayerState::Done | LayerState::Present)
    }

    /// How long its bytes took to come; none if their beginning was not seen. It may then have waited for the layers
    /// below.
    pub fn took(&self) -> Option<Duration> {
        Some(self.fetched? - self.begun?).filter(|took| !took.is_zero())
    }

    /// Bytes per second lately.
    pub fn speed(&self, now: Instant) -> u64 {
        let recent = |(at, _): &&(Instant, u64)| now.saturating_duration_since(*at) <= SPEED_WINDOW;
        let Some((since, bytes)) = self.samples.iter().find(recent) else { return 0 };
        per_second(self.done_bytes.saturating_sub(*bytes), now.saturating_duration_since(*since))
    }
}

/// Bytes in a time, by the second.
pub fn per_second(bytes: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: LayerState, done_bytes: u64) -> [LayerProgress; 1] {
        [LayerProgress { digest: "sha256:0123456789abcdef".into(), state: state.into(), done_bytes, total_bytes: 5000 }]
    }

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut layers = Layers::new(begun);
        for (second, done) in [(0, 0), (1, 100), (2, 200), (3, 2300), (4, 4400)] {
            assert!(layers.update(&told(LayerState::Fetching, done), at(second)).is_empty());
        }
        assert_eq!(layers.all[0].speed(at(4)), (4400 - 100) / 3);
        assert_eq!(layers.all[0].speed(at(6)), (4400 - 2300) / 3);
        assert_eq!(layers.all[0].speed(at(9)), 0);
    }

    #[test]
    fn a_layer_ends_once_and_knows_how_long_its_bytes_took() {
        let begun = Instant::now();
        let mut layers = Layers::new(begun);
        layers.update(&told(LayerState::Waiting, 0), begun);
        assert_eq!(layers.all[0].took(), None);
        layers.update(&told(LayerState::Fetching, 10), begun + Duration::from_secs(1));
        assert!(layers.update(&told(LayerState::Fetching, 5000), begun + Duration::from_secs(3)).is_empty());
        assert_eq!(layers.update(&told(LayerState::Done, 5000), begun + Duration::from_secs(4)), [0]);
        assert!(layers.update(&told(LayerState::Done, 5000), begun + Duration::from_secs(5)).is_empty());
        assert_eq!(layers.all[0].took(), Some(Duration::from_secs(2)));
    }
}
