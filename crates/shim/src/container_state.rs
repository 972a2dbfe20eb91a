//! A container's life as the shim sees it: a constant table, state × event → state and actions, without an empty cell.
//!
//! ```text
//!                 LeaderDied              GroupEmptied              OutputClosed
//!  Running ──────────┬──────────▶ Ending ─────────────▶ Draining ─────────────────▶ Exited
//!     │ KillAsked    │              │ OutputClosed         │ Overdue                 ▲ ▲
//!     ▼              │              ▼          GroupEmptied└─────────────────────────┘ │
//!  Killing ──────────┘            Clearing ───────────────────────────────────────────┤
//!                                   │ Overdue (also from Ending)       GroupEmptied    │
//!                                   └──────────────▶ Lingering ────────────────────────┘
//! ```
//!
//! The exit of a container is the death of its first process. It is told when the rest of its control group is dead and
//! its output is drained, or when that has taken too long; what is left then goes on being killed.

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first process lives.
    Running,
    /// The first process lives, and its whole group is being killed.
    Killing,
    /// The first process is dead; others of the group may live, and output may come.
    Ending,
    /// The first process is dead; others of the group may live, but no output can come.
    Clearing,
    /// All processes are dead, but someone outside of the group holds the output open.
    Draining,
    /// The exit is told, though processes of the group could not be killed yet.
    Lingering,
    /// The exit is told, and nothing of the container runs.
    Exited,
}

/// What happens to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its first process is dead and reaped.
    LeaderDied,
    /// No process is left in its control group.
    GroupEmptied,
    /// Its output came to the end.
    OutputClosed,
    /// The time from the death of the first process to the telling of the exit is over.
    Overdue,
    /// The daemon wants everything in it killed.
    KillAsked,
    /// It is time to look at a group again whose processes were killed.
    RetryDue,
}

/// What the shim does about it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Kill every process of the group, see whether it is empty, and come back otherwise.
    KillGroup,
    /// Read what the output still holds, and be overdue after a while.
    Drain,
    /// Stop reading the output.
    CloseOutput,
    /// Write the exit record and tell the daemon.
    TellExit,
    /// Answer those who wanted it killed.
    AnswerKills,
}

impl State {
    /// Every state, for tests that try them all.
    pub const ALL: [State; 7] = [
        State::Running,
        State::Killing,
        State::Ending,
        State::Clearing,
        State::Draining,
        State::Lingering,
        State::Exited,
    ];

    /// The first process is not reaped yet.
    pub fn leader_lives(self) -> bool {
        matches!(self, State::Running | State::Killing)
    }

    /// Processes of the group are being killed.
    pub fn is_clearing(self) -> bool {
        matches!(self, State::Killing | State::Ending | State::Clearing | State::Lingering)
    }

    /// The exit was told.
    pub fn is_told(self) -> bool {
        matches!(self, State::Lingering | State::Exited)
    }
}

impl Event {
    /// Every event, for tests that try them all.
    pub const ALL: [Event; 6] = [
        Event::LeaderDied,
        Event::GroupEmptied,
        Event::OutputClosed,
        Event::Overdue,
        Event::KillAsked,
        Event::RetryDue,
    ];
}

/// The table.
pub fn on(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::{AnswerKills, CloseOutput, Drain, KillGroup, TellExit};
    use Event::{GroupEmptied, KillAsked, LeaderDied, OutputClosed, Overdue, RetryDue};
    use State::{Clearing, Draining, Ending, Exited, Killing, Lingering, Running};
    match (state, event) {
        (Running | Killing, LeaderDied) => (Ending, &[Drain, KillGroup]),
        (Ending | Clearing | Draining | Lingering | Exited, LeaderDied) => (state, &[]),

        // A group without processes whose first one is not reaped yet: its death is about to be seen.
        (Running | Killing, GroupEmptied) => (state, &[]),
        (Ending, GroupEmptied) => (Draining, &[AnswerKills]),
        (Clearing, GroupEmptied) => (Exited, &[AnswerKills, TellExit]),
        (Lingering, GroupEmptied) => (Exited, &[AnswerKills]),
        (Draining | Exited, GroupEmptied) => (state, &[]),

        // A process may close its output and go on.
        (Running | Killing, OutputClosed) => (state, &[]),
        (Ending, OutputClosed) => (Clearing, &[]),
        (Draining, OutputClosed) => (Exited, &[TellExit]),
        (Clearing | Lingering | Exited, OutputClosed) => (state, &[]),

        (Ending | Clearing, Overdue) => (Lingering, &[CloseOutput, TellExit]),
        (Draining, Overdue) => (Exited, &[CloseOutput, TellExit]),
        (Running | Killing | Lingering | Exited, Overdue) => (state, &[]),

        (Running | Killing, KillAsked) => (Killing, &[KillGroup]),
        (Ending | Clearing | Lingering, KillAsked) => (state, &[KillGroup]),
        (Draining | Exited, KillAsked) => (state, &[AnswerKills]),

        (Killing | Ending | Clearing | Lingering, RetryDue) => (state, &[KillGroup]),
        (Running | Draining | Exited, RetryDue) => (state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sequences of events up to a length, from the first state.
    fn walk(
        depth: usize,
        state: State,
        told: usize,
        history: &mut Vec<Event>,
        check: &mut impl FnMut(State, usize, &[Event]),
    ) {
        check(state, told, history);
        if depth == 0 {
            return;
        }
        for event in Event::ALL {
            let (next, actions) = on(state, event);
            history.push(event);
            let told = told + actions.iter().filter(|action| **action == Action::TellExit).count();
            walk(depth - 1, next, told, history, check);
            history.pop();
        }
    }

    #[test]
    fn the_exit_is_told_exactly_once_and_never_before_the_leader_died() {
        walk(6, State::Running, 0, &mut Vec::new(), &mut |state, told, history| {
            assert_eq!(told, usize::from(state.is_told()), "{history:?} -> {state:?}");
            assert_eq!(state.leader_lives(), !history.contains(&Event::LeaderDied), "{history:?} -> {state:?}");
        });
    }

    #[test]
    fn death_with_empty_group_and_closed_output_is_an_exit_in_either_order() {
        for order in [[Event::GroupEmptied, Event::OutputClosed], [Event::OutputClosed, Event::GroupEmptied]] {
            let state = order.iter().fold(on(State::Running, Event::LeaderDied).0, |state, event| on(state, *event).0);
            assert_eq!(state, State::Exited);
        }
    }

    #[test]
    fn nothing_leaves_the_last_state_and_kills_there_are_answered_at_once() {
        for event in Event::ALL {
            let (next, actions) = on(State::Exited, event);
            assert_eq!(next, State::Exited);
            assert_eq!(actions.contains(&Action::AnswerKills), event == Event::KillAsked);
        }
    }

    #[test]
    fn a_group_that_is_being_killed_is_looked_at_until_it_is_empty() {
        for state in State::ALL {
            let (next, actions) = on(state, Event::RetryDue);
            assert_eq!(next, state);
            assert_eq!(actions == [Action::KillGroup], state.is_clearing());
        }
    }

    #[test]
    fn those_who_asked_for_a_kill_are_answered_when_the_group_is_empty() {
        for state in [State::Ending, State::Clearing, State::Lingering] {
            assert!(on(state, Event::GroupEmptied).1.contains(&Action::AnswerKills), "{state:?}");
        }
    }

    #[test]
    fn every_container_gets_to_its_end_by_time_alone() {
        for state in State::ALL.into_iter().filter(|state| !state.leader_lives()) {
            assert!(on(state, Event::Overdue).0.is_told(), "{state:?}");
        }
    }
}
