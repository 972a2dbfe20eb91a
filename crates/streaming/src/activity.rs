//! When something last moved in a session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) struct Activity {
    begin: Instant,
    /// Milliseconds from `begin`.
    last: AtomicU64,
}

impl Activity {
    pub fn begin() -> Self {
        Activity { begin: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Something moves.
    pub fn note(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for so long.
    pub async fn idle(&self, limit: Duration) {
        loop {
            let last = self.begin + Duration::from_millis(self.last.load(Ordering::Relaxed));
            if last.elapsed() >= limit {
                return;
            }
            tokio::time::sleep_until(last + limit).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_moves_is_not_idle() {
        let activity = Activity::begin();
        let limit = Duration::from_millis(40);
        let moving = async {
            for _ in 0..10 {
                tokio::time::sleep(limit / 4).await;
                activity.note();
            }
        };
        tokio::select! {
            () = activity.idle(limit) => panic!("idle although something moves"),
            () = moving => {}
        }
        tokio::time::timeout(limit * 50, activity.idle(limit)).await.unwrap();
    }
}
