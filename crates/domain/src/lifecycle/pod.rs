//! The life of a pod sandbox.
//!
//! ```text
//!  Creating ──built──▶ Ready ──stop, shim death──▶ NotReady ──remove──▶ Removing ──▶ (gone)
//!      └──all else, crash──▶ Removing                  ▲                    │
//!                                    reboot, recovery ─┘    removal ◀──repeated
//! ```
//!
//! A pod that is not built whole was never one: nobody sees it, whatever happens to it.

use super::Admission;

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum PodState {
    /// Recorded, not yet answered: invisible to lists.
    Creating,
    /// Its namespaces and network are there.
    Ready,
    /// Stopped, or its shim died; its record and its containers' records remain.
    NotReady,
    /// Being taken apart; invisible to lists.
    Removing,
}

/// What can be asked of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodRequest {
    Stop,
    Remove,
    CreateContainer,
    StartContainer,
    UpdateResources,
    PortForward,
}

/// What happens to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodEvent {
    /// Every phase of its construction is done.
    Built,
    /// A phase failed, or the daemon died before the last one.
    BuildFailed,
    /// All containers are dead and the network is released.
    Stopped,
    /// The shim's process is gone.
    ShimLost,
    /// A removal was accepted.
    RemovalBegun,
}

/// May `request` be done in `state`?
pub fn admit(state: PodState, request: PodRequest) -> Admission {
    use Admission::{Accept, Already, Refused};
    match (state, request) {
        (PodState::Ready, PodRequest::Stop | PodRequest::Remove) => Accept,
        (PodState::Ready, PodRequest::CreateContainer | PodRequest::StartContainer) => Accept,
        (PodState::Ready, PodRequest::UpdateResources | PodRequest::PortForward) => Accept,
        // Stop is asked again and again by the kubelet; what is left of the pod is released again.
        (PodState::NotReady, PodRequest::Stop | PodRequest::Remove) => Accept,
        (PodState::NotReady, PodRequest::CreateContainer) => Refused("the pod sandbox is not ready"),
        (PodState::NotReady, PodRequest::StartContainer) => Refused("the pod sandbox is not ready"),
        (PodState::NotReady, PodRequest::UpdateResources) => Refused("the pod sandbox is not ready"),
        (PodState::NotReady, PodRequest::PortForward) => Refused("the pod sandbox is not ready"),
        (PodState::Creating, PodRequest::Stop | PodRequest::Remove) => Accept,
        (PodState::Creating, PodRequest::CreateContainer) => Refused("the pod sandbox is still being created"),
        (PodState::Creating, PodRequest::StartContainer) => Refused("the pod sandbox is still being created"),
        (PodState::Creating, PodRequest::UpdateResources) => Refused("the pod sandbox is still being created"),
        (PodState::Creating, PodRequest::PortForward) => Refused("the pod sandbox is still being created"),
        (PodState::Removing, PodRequest::Stop) => Already,
        (PodState::Removing, PodRequest::Remove) => Accept,
        (PodState::Removing, PodRequest::CreateContainer) => Refused("the pod sandbox is being removed"),
        (PodState::Removing, PodRequest::StartContainer) => Refused("the pod sandbox is being removed"),
        (PodState::Removing, PodRequest::UpdateResources) => Refused("the pod sandbox is being removed"),
        (PodState::Removing, PodRequest::PortForward) => Refused("the pod sandbox is being removed"),
    }
}

/// The state after `event`.
pub fn observe(state: PodState, event: PodEvent) -> PodState {
    match (state, event) {
        (PodState::Creating, PodEvent::Built) => PodState::Ready,
        (PodState::Creating, PodEvent::BuildFailed | PodEvent::RemovalBegun) => PodState::Removing,
        (PodState::Creating, PodEvent::Stopped | PodEvent::ShimLost) => PodState::Removing,
        (PodState::Ready, PodEvent::Stopped | PodEvent::ShimLost) => PodState::NotReady,
        (PodState::Ready, PodEvent::RemovalBegun) => PodState::Removing,
        (PodState::Ready, PodEvent::Built | PodEvent::BuildFailed) => PodState::Ready,
        (PodState::NotReady, PodEvent::RemovalBegun) => PodState::Removing,
        (PodState::NotReady, PodEvent::Built | PodEvent::BuildFailed) => PodState::NotReady,
        (PodState::NotReady, PodEvent::Stopped | PodEvent::ShimLost) => PodState::NotReady,
        (PodState::Removing, PodEvent::Built | PodEvent::BuildFailed) => PodState::Removing,
        (PodState::Removing, PodEvent::Stopped | PodEvent::ShimLost | PodEvent::RemovalBegun) => PodState::Removing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [PodState; 4] = [PodState::Creating, PodState::Ready, PodState::NotReady, PodState::Removing];

    #[test]
    fn stop_and_remove_are_never_refused() {
        for state in STATES {
            for request in [PodRequest::Stop, PodRequest::Remove] {
                assert!(!matches!(admit(state, request), Admission::Refused(_)), "{state:?} {request:?}");
            }
        }
    }

    #[test]
    fn a_pod_that_was_not_built_is_never_seen() {
        for event in [PodEvent::BuildFailed, PodEvent::Stopped, PodEvent::ShimLost, PodEvent::RemovalBegun] {
            assert_eq!(observe(PodState::Creating, event), PodState::Removing);
        }
    }

    #[test]
    fn a_pod_never_comes_back_from_not_ready() {
        for event in [PodEvent::Built, PodEvent::BuildFailed, PodEvent::Stopped, PodEvent::ShimLost] {
            assert_eq!(observe(PodState::NotReady, event), PodState::NotReady);
        }
    }
}
