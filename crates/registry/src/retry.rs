//! When a failed request is repeated: a pure decision over the kind of failure and how often it happened.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use crate::limits;

/// What a failure says about a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The answer would be the same.
    Never,
    /// Nothing was reached or nothing came: one more try, as the path may be the fault.
    Once,
    /// It may pass by itself.
    Later,
    /// The host named the time.
    After(Duration),
}

/// The failures of one host at one task.
#[derive(Debug)]
pub(crate) struct Retries {
    first_pause: Duration,
    failures: u32,
}

impl Retries {
    pub(crate) fn new(first_pause: Duration) -> Self {
        Retries { first_pause, failures: 0 }
    }

    /// The pause before the next attempt; none if there should be no other.
    pub(crate) fn failed(&mut self, again: Again) -> Option<Duration> {
        self.failed_with(again, RandomState::new().hash_one(self.failures))
    }

    fn failed_with(&mut self, again: Again, random: u64) -> Option<Duration> {
        self.failures += 1;
        let attempts = match again {
            Again::Never => 1,
            Again::Once => limits::CONNECT_ATTEMPTS_PER_HOST,
            Again::Later | Again::After(_) => limits::ATTEMPTS_PER_HOST,
        };
        if self.failures >= attempts {
            return None;
        }
        let doublings = (self.failures - 1).min(16);
        let pause = self.first_pause.saturating_mul(1 << doublings).min(limits::BACKOFF_MAX);
        let pause = jittered(pause, random);
        match again {
            Again::After(asked) if asked > limits::RETRY_AFTER_MAX => None,
            // The jitter keeps the nodes apart that were all told the same time.
            Again::After(asked) => Some(asked + pause),
            _ => Some(pause),
        }
    }

    /// Forgets the failures: there was progress since.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
    }
}

/// Between one half and the whole of `pause`.
fn jittered(pause: Duration, random: u64) -> Duration {
    let fraction = (random >> 32) as f64 / f64::from(u32::MAX);
    pause.mul_f64(0.5 + fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);

    fn pauses(again: Again, random: u64) -> Vec<u128> {
        let mut retries = Retries::new(PAUSE);
        std::iter::from_fn(|| retries.failed_with(again, random)).map(|pause| pause.as_millis()).collect()
    }

    #[test]
    fn pauses_double_and_end() {
        assert_eq!(pauses(Again::Later, u64::MAX), [100, 200, 400]);
        assert_eq!(pauses(Again::Later, 0), [50, 100, 200]);
        assert_eq!(pauses(Again::Once, u64::MAX), [100]);
        assert_eq!(pauses(Again::Never, u64::MAX), [0; 0]);
    }

    #[test]
    fn a_named_time_is_kept_within_its_bound() {
        assert_eq!(pauses(Again::After(Duration::from_secs(2)), u64::MAX), [2100, 2200, 2400]);
        assert_eq!(pauses(Again::After(Duration::from_secs(3600)), u64::MAX), [0; 0]);
    }

    #[test]
    fn a_pause_is_bounded_and_progress_forgives() {
        let mut retries = Retries::new(Duration::from_secs(1_000_000));
        assert_eq!(retries.failed_with(Again::Later, u64::MAX), Some(limits::BACKOFF_MAX));
        for _ in 0..100 {
            retries.progressed();
            assert!(retries.failed(Again::Later).is_some());
        }
    }
}
