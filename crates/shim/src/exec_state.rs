//! An exec's life: a constant table, state × event → state and actions, without an empty cell.
//!
//! ```text
//!            LeaderDied
//!  Running ─────────────────────────────────────────▶ Gone
//!     │ TimedOut            LeaderDied                  ▲
//!     ▼                                                 │ GroupEmptied, Overdue
//!  Killing ───────────────────────────▶ Clearing ───────┘
//! ```
//!
//! An exec that ends by itself leaves the processes that it started alone. One that runs into its timeout is killed with
//! its whole tree, and its end is told when none of it is left.

/// Where an exec is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its process lives.
    Running,
    /// It timed out and is being killed; its process is not reaped yet.
    Killing,
    /// It timed out and its process is reaped, but others of its tree may live.
    Clearing,
    /// Its end is told.
    Gone,
}

/// What happens to an exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its process is dead and reaped.
    LeaderDied,
    /// Its timeout is over.
    TimedOut,
    /// No process is left in its control group.
    GroupEmptied,
    /// The time for killing it is over.
    Overdue,
    /// It is time to look again at processes that were killed.
    RetryDue,
}

/// What the shim does about it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Note that it timed out, and be overdue after a while.
    NoteTimeout,
    /// Kill every process of its group, see whether it is empty, and come back otherwise.
    KillGroup,
    /// Tell the daemon and forget the exec.
    TellExit,
}

impl State {
    /// Every state, for tests that try them all.
    pub const ALL: [State; 4] = [State::Running, State::Killing, State::Clearing, State::Gone];
}

impl Event {
    /// Every event, for tests that try them all.
    pub const ALL: [Event; 5] =
        [Event::LeaderDied, Event::TimedOut, Event::GroupEmptied, Event::Overdue, Event::RetryDue];
}

/// The table.
pub fn on(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::{KillGroup, NoteTimeout, TellExit};
    use Event::{GroupEmptied, LeaderDied, Overdue, RetryDue, TimedOut};
    use State::{Clearing, Gone, Killing, Running};
    match (state, event) {
        (Running, LeaderDied) => (Gone, &[TellExit]),
        (Killing, LeaderDied) => (Clearing, &[KillGroup]),
        (Clearing | Gone, LeaderDied) => (state, &[]),

        (Running, TimedOut) => (Killing, &[NoteTimeout, KillGroup]),
        (Killing | Clearing | Gone, TimedOut) => (state, &[]),

        // Its process is dead but not reaped: that is seen next.
        (Running | Killing, GroupEmptied) => (state, &[]),
        (Clearing, GroupEmptied) => (Gone, &[TellExit]),
        (Gone, GroupEmptied) => (Gone, &[]),

        // A process that cannot be killed: whoever waits is told that it timed out, and it is watched no longer.
        (Killing | Clearing, Overdue) => (Gone, &[TellExit]),
        (Running | Gone, Overdue) => (state, &[]),

        (Killing | Clearing, RetryDue) => (state, &[KillGroup]),
        (Running | Gone, RetryDue) => (state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(events: &[Event]) -> (State, Vec<Action>) {
        events.iter().fold((State::Running, Vec::new()), |(state, mut all), event| {
            let (next, actions) = on(state, *event);
            all.extend_from_slice(actions);
            (next, all)
        })
    }

    #[test]
    fn the_end_is_told_exactly_once_whatever_happens() {
        let mut sequences: Vec<Vec<Event>> = vec![Vec::new()];
        for _ in 0..6 {
            sequences = sequences
                .iter()
                .flat_map(|sequence| {
                    Event::ALL.map(|event| sequence.iter().copied().chain([event]).collect::<Vec<_>>())
                })
                .collect();
            for sequence in &sequences {
                let (state, actions) = run(sequence);
                let told = actions.iter().filter(|action| **action == Action::TellExit).count();
                assert_eq!(told, usize::from(state == State::Gone), "{sequence:?}");
            }
        }
    }

    #[test]
    fn an_exec_that_ends_by_itself_kills_nothing() {
        assert_eq!(run(&[Event::LeaderDied, Event::TimedOut, Event::RetryDue]), (State::Gone, vec![Action::TellExit]));
    }

    #[test]
    fn an_exec_that_timed_out_is_told_when_its_tree_is_dead_and_reaped() {
        let (state, actions) = run(&[Event::TimedOut, Event::GroupEmptied]);
        assert_eq!(state, State::Killing);
        assert!(!actions.contains(&Action::TellExit));
        let (state, actions) = run(&[Event::TimedOut, Event::LeaderDied, Event::GroupEmptied]);
        assert_eq!(state, State::Gone);
        assert_eq!(actions.last(), Some(&Action::TellExit));
    }

    #[test]
    fn killing_ends_by_time_alone() {
        for state in [State::Killing, State::Clearing] {
            assert_eq!(on(state, Event::Overdue).0, State::Gone);
        }
    }
}
