//! A process between its making and its program: a constant table, state × event → state and actions, without an empty
//! cell.
//!
//! ```text
//!             Runs
//!  Underway ─────────────────────────────────────▶ Gone (it is a container or an exec from now on)
//!     │ Failed, KillAsked, Late       Reaped        ▲
//!     ▼                                             │ Reaped
//!   Doomed ─────────────────────────────────────────┤
//!     │ Late                                        │
//!     ▼                                             │
//!   Stuck ──────────────────────────────────────────┘
//! ```
//!
//! A process that mounts from a file system that hangs is Underway for long, and nothing but its own start waits for it.

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is on its way.
    Underway,
    /// It will not get there and is being killed.
    Doomed,
    /// It could not be killed; whoever waited was told so.
    Stuck,
    /// It has become something else, or nothing is left of it.
    Gone,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its program runs.
    Runs,
    /// It has told what failed.
    Failed,
    /// It is dead and reaped.
    Reaped,
    /// Somebody wants it killed.
    KillAsked,
    /// The time for what it does at the moment is over.
    Late,
}

/// What the shim does about it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Enter it among the containers or the execs, and answer.
    Hold,
    /// Kill it, and be late if that takes long.
    Kill,
    /// Answer that it did not start.
    Refuse,
    /// Remove its control group.
    CleanUp,
}

impl State {
    /// Every state, for tests that try them all.
    pub const ALL: [State; 4] = [State::Underway, State::Doomed, State::Stuck, State::Gone];
}

impl Event {
    /// Every event, for tests that try them all.
    pub const ALL: [Event; 5] = [Event::Runs, Event::Failed, Event::Reaped, Event::KillAsked, Event::Late];
}

/// The table.
pub fn on(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::{CleanUp, Hold, Kill, Refuse};
    use Event::{Failed, KillAsked, Late, Reaped, Runs};
    use State::{Doomed, Gone, Stuck, Underway};
    match (state, event) {
        (Underway, Runs) => (Gone, &[Hold]),
        // The kill was faster than the answer: nobody is told that it runs.
        (Doomed | Stuck | Gone, Runs) => (state, &[]),

        (Underway, Failed) => (Doomed, &[Kill]),
        (Doomed | Stuck | Gone, Failed) => (state, &[]),

        (Underway | Doomed, Reaped) => (Gone, &[CleanUp, Refuse]),
        (Stuck, Reaped) => (Gone, &[CleanUp]),
        (Gone, Reaped) => (Gone, &[]),

        (Underway | Doomed, KillAsked) => (Doomed, &[Kill]),
        (Stuck | Gone, KillAsked) => (state, &[]),

        (Underway, Late) => (Doomed, &[Kill]),
        (Doomed, Late) => (Stuck, &[Refuse]),
        (Stuck | Gone, Late) => (state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(events: &[Event]) -> (State, Vec<Action>) {
        events.iter().fold((State::Underway, Vec::new()), |(state, mut all), event| {
            let (next, actions) = on(state, *event);
            all.extend_from_slice(actions);
            (next, all)
        })
    }

    #[test]
    fn it_is_answered_exactly_once_and_cleaned_up_unless_it_runs() {
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
                let count = |which| actions.iter().filter(|action| **action == which).count();
                let (held, refused, cleaned) = (count(Action::Hold), count(Action::Refuse), count(Action::CleanUp));
                match state {
                    State::Underway | State::Doomed => assert_eq!((held, refused, cleaned), (0, 0, 0), "{sequence:?}"),
                    State::Stuck => assert_eq!((held, refused, cleaned), (0, 1, 0), "{sequence:?}"),
                    State::Gone => assert_eq!((held + refused, held + cleaned), (1, 1), "{sequence:?}"),
                }
            }
        }
    }

    #[test]
    fn one_that_is_to_be_killed_never_counts_as_running() {
        assert_eq!(on(run(&[Event::KillAsked]).0, Event::Runs), (State::Doomed, &[][..]));
    }

    #[test]
    fn whoever_waits_is_answered_by_time_alone() {
        let (state, actions) = run(&[Event::Late, Event::Late]);
        assert_eq!((state, actions), (State::Stuck, vec![Action::Kill, Action::Refuse]));
    }
}
