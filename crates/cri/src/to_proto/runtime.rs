//! What the runtime is and can.

use cradle_cri_api::v1;
use cradle_engine::EngineStatus;

use crate::edge::Facts;
use crate::handlers::HANDLERS;

/// The conditions that the kubelet asks for. Whoever can answer is ready; the network has a say of its own.
pub fn runtime_status(status: &EngineStatus) -> v1::RuntimeStatus {
    let ready = v1::RuntimeCondition { r#type: "RuntimeReady".to_owned(), status: true, ..Default::default() };
    let network = v1::RuntimeCondition {
        r#type: "NetworkReady".to_owned(),
        status: status.network_failure.is_none(),
        reason: status.network_failure.as_ref().map(|_| "NetworkNotReady".to_owned()).unwrap_or_default(),
        message: status.network_failure.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    v1::RuntimeStatus { conditions: vec![ready, network] }
}

/// Each handler with what it can do on this machine.
pub fn runtime_handlers(facts: &Facts) -> Vec<v1::RuntimeHandler> {
    let features = v1::RuntimeHandlerFeatures {
        recursive_read_only_mounts: facts.recursive_read_only_mounts,
        user_namespaces: facts.user_namespaces,
    };
    HANDLERS.iter().map(|name| v1::RuntimeHandler { name: (*name).to_owned(), features: Some(features) }).collect()
}

pub fn runtime_features(facts: &Facts) -> v1::RuntimeFeatures {
    v1::RuntimeFeatures { supplemental_groups_policy: true, user_namespaces_host_network: facts.user_namespaces }
}
