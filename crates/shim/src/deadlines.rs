//! What is due when: a short list, looked through once a turn of the event loop.

use std::time::{Duration, Instant};

/// What is due. The numbers are those of containers, execs and dials within this shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The rest of a container that was killed is looked at again.
    KillContainer(u32),
    /// A container's exit is told, whatever is left of it.
    EndContainer(u32),
    /// The daemon hears of lost log output.
    TellLogLost(u32),
    /// An exec has had its time.
    TimeOutExec(u32),
    /// The rest of an exec that timed out is looked at again.
    KillExec(u32),
    /// An exec's end is told, whatever is left of it.
    EndExec(u32),
    /// A process takes too long to start, or, when it was killed, to die.
    EndStart(u32),
    /// A connection into the pod has taken too long.
    GiveUpDial(u32),
    /// A shutdown has taken too long.
    GiveUpShutdown,
    /// New connections are accepted again.
    Accept,
}

/// The list. It has at most a few entries for each container and exec.
#[derive(Debug, Default)]
pub struct Deadlines {
    entries: Vec<(Instant, Due)>,
}

impl Deadlines {
    /// Makes `due` due `after` from now, in place of an earlier time for the same.
    pub fn set(&mut self, due: Due, after: Duration) {
        self.cancel(due);
        // A time that the clock cannot express never comes.
        if let Some(at) = Instant::now().checked_add(after) {
            self.entries.push((at, due));
        }
    }

    pub fn cancel(&mut self, due: Due) {
        self.entries.retain(|(_, other)| *other != due);
    }

    /// Whether `due` is still to come.
    pub fn is_set(&self, due: Due) -> bool {
        self.entries.iter().any(|(_, other)| *other == due)
    }

    /// The time until the next one, from `now`.
    pub fn next(&self, now: Instant) -> Option<Duration> {
        self.entries.iter().map(|(at, _)| at.saturating_duration_since(now)).min()
    }

    /// Takes one that is due, the earliest first.
    pub fn take(&mut self, now: Instant) -> Option<Due> {
        let index = (0..self.entries.len()).min_by_key(|index| self.entries[*index].0)?;
        if self.entries[index].0 > now {
            return None;
        }
        let (_, due) = self.entries.swap_remove(index);
        if self.entries.is_empty() {
            self.entries = Vec::new();
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_order_and_only_when_it_is_due() {
        let mut deadlines = Deadlines::default();
        let now = Instant::now();
        deadlines.set(Due::KillExec(2), Duration::from_secs(2));
        deadlines.set(Due::KillExec(1), Duration::from_secs(1));
        deadlines.set(Due::Accept, Duration::from_secs(100));
        assert_eq!(deadlines.take(now), None);
        let later = now + Duration::from_secs(10);
        assert_eq!(deadlines.take(later), Some(Due::KillExec(1)));
        assert_eq!(deadlines.take(later), Some(Due::KillExec(2)));
        assert_eq!(deadlines.take(later), None);
        assert!(deadlines.next(now).is_some_and(|left| left > Duration::from_secs(90)));
    }

    #[test]
    fn a_new_time_replaces_the_old_and_cancelled_ones_never_come() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Due::Accept, Duration::from_secs(1));
        deadlines.set(Due::Accept, Duration::from_secs(1000));
        let later = Instant::now() + Duration::from_secs(10);
        assert_eq!(deadlines.take(later), None);
        assert!(deadlines.is_set(Due::Accept));
        deadlines.cancel(Due::Accept);
        assert_eq!(deadlines.next(later), None);
        deadlines.set(Due::Accept, Duration::MAX);
        assert_eq!(deadlines.next(later), None);
    }
}
