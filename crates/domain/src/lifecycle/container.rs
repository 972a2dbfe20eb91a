//! The life of a container.
//!
//! ```text
//!  Created ──start──▶ Starting ──started──▶ Running ──exit──▶ Exited ──remove──▶ Removing ──▶ (gone)
//!     │                  └──────failed to start──────────────────▲  ▲
//!     └───────────────────pod stopped, shim lost────────────────────┘
//! ```

use super::Admission;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ContainerState {
    /// Recorded, with a root file system; never started.
    Created,
    /// The shim was asked to start it; an answer is due.
    Starting,
    Running,
    /// Its first process is dead, or it could not be started. It cannot be started again.
    Exited,
    /// Being taken apart; invisible to lists.
    Removing,
}

/// What can be asked of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerRequest {
    Start,
    Stop,
    Remove,
    /// ExecSync, Exec and Attach.
    Exec,
    UpdateResources,
    ReopenLog,
}

/// What happens to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEvent {
    StartBegun,
    Started,
    /// It could not be started, its first process died, or its pod's shim did.
    Exited,
    RemovalBegun,
}

/// May `request` be done in `state`?
pub fn admit(state: ContainerState, request: ContainerRequest) -> Admission {
    use Admission::{Accept, Already, Refused};
    use ContainerRequest::{Exec, Remove, ReopenLog, Start, Stop, UpdateResources};
    match (state, request) {
        (ContainerState::Created, Start | Remove | UpdateResources) => Accept,
        // Kubernetes calls a container that never ran stopped as soon as it asks for it.
        (ContainerState::Created, Stop) => Accept,
        (ContainerState::Created, Exec | ReopenLog) => Refused("the container is not running: it was not started"),
        (ContainerState::Starting, Start | Stop | Remove) => Accept,
        (ContainerState::Starting, Exec | ReopenLog | UpdateResources) => Refused("the container is being started"),
        (ContainerState::Running, Start) => Refused("the container is already running"),
        (ContainerState::Running, Stop | Remove | Exec | UpdateResources | ReopenLog) => Accept,
        (ContainerState::Exited, Start) => Refused("the container has exited; a container is started once"),
        (ContainerState::Exited, Stop) => Already,
        (ContainerState::Exited, Remove) => Accept,
        (ContainerState::Exited, Exec | ReopenLog | UpdateResources) => {
            Refused("the container is not running: it has exited")
        }
        (ContainerState::Removing, Remove) => Accept,
        (ContainerState::Removing, Stop) => Already,
        (ContainerState::Removing, Start | Exec | ReopenLog | UpdateResources) => {
            Refused("the container is being removed")
        }
    }
}

/// The state after `event`.
pub fn observe(state: ContainerState, event: ContainerEvent) -> ContainerState {
    match (state, event) {
        (ContainerState::Created, ContainerEvent::StartBegun) => ContainerState::Starting,
        (ContainerState::Created | ContainerState::Starting, ContainerEvent::Started) => ContainerState::Running,
        (ContainerState::Created | ContainerState::Starting, ContainerEvent::Exited) => ContainerState::Exited,
        (ContainerState::Starting, ContainerEvent::StartBegun) => ContainerState::Starting,
        (ContainerState::Running, ContainerEvent::Exited) => ContainerState::Exited,
        (ContainerState::Running, ContainerEvent::StartBegun | ContainerEvent::Started) => ContainerState::Running,
        (ContainerState::Exited, ContainerEvent::StartBegun | ContainerEvent::Started | ContainerEvent::Exited) => {
            ContainerState::Exited
        }
        (
            ContainerState::Created | ContainerState::Starting | ContainerState::Running | ContainerState::Exited,
            ContainerEvent::RemovalBegun,
        ) => ContainerState::Removing,
        (
            ContainerState::Removing,
            ContainerEvent::StartBegun
            | ContainerEvent::Started
            | ContainerEvent::Exited
            | ContainerEvent::RemovalBegun,
        ) => ContainerState::Removing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [ContainerState; 5] = [
        ContainerState::Created,
        ContainerState::Starting,
        ContainerState::Running,
        ContainerState::Exited,
        ContainerState::Removing,
    ];

    #[test]
    fn stop_and_remove_are_never_refused() {
        for state in STATES {
            for request in [ContainerRequest::Stop, ContainerRequest::Remove] {
                assert!(!matches!(admit(state, request), Admission::Refused(_)), "{state:?} {request:?}");
            }
        }
    }

    #[test]
    fn a_dead_container_never_runs_again() {
        let events = [ContainerEvent::StartBegun, ContainerEvent::Started, ContainerEvent::Exited];
        for event in events {
            assert_eq!(observe(ContainerState::Exited, event), ContainerState::Exited);
            assert_eq!(observe(ContainerState::Removing, event), ContainerState::Removing);
        }
    }
}
