//! Pods.

use cradle_cri_api::v1;
use cradle_domain::lifecycle::pod::PodState;
use cradle_engine::spec::{IdMapping, NamespaceMode, PodNamespaceModes, PodSpec};
use cradle_engine::view::PodView;

/// Ready, or not: the CRI knows no more states.
pub fn pod_state(state: PodState) -> v1::PodSandboxState {
    match state {
        PodState::Ready => v1::PodSandboxState::SandboxReady,
        PodState::Creating | PodState::NotReady | PodState::Removing => v1::PodSandboxState::SandboxNotready,
    }
}

/// A pod as lists show it.
pub fn pod(view: &PodView) -> v1::PodSandbox {
    v1::PodSandbox {
        id: view.id.to_string(),
        metadata: Some(metadata(&view.spec)),
        state: pod_state(view.state).into(),
        created_at: view.created_at.nanos(),
        labels: view.spec.labels.clone(),
        annotations: view.spec.annotations.clone(),
        runtime_handler: view.spec.handler.clone(),
    }
}

/// A pod in full.
pub fn pod_status(view: &PodView) -> v1::PodSandboxStatus {
    let mut addresses = view.addresses.iter().map(ToString::to_string);
    v1::PodSandboxStatus {
        id: view.id.to_string(),
        metadata: Some(metadata(&view.spec)),
        state: pod_state(view.state).into(),
        created_at: view.created_at.nanos(),
        network: Some(v1::PodSandboxNetworkStatus {
            ip: addresses.next().unwrap_or_default(),
            additional_ips: addresses.map(|ip| v1::PodIp { ip }).collect(),
        }),
        linux: Some(v1::LinuxPodSandboxStatus {
            namespaces: Some(v1::Namespace { options: Some(namespaces(&view.spec.namespaces)) }),
        }),
        labels: view.spec.labels.clone(),
        annotations: view.spec.annotations.clone(),
        runtime_handler: view.spec.handler.clone(),
    }
}

pub fn metadata(spec: &PodSpec) -> v1::PodSandboxMetadata {
    v1::PodSandboxMetadata {
        name: spec.name.clone(),
        uid: spec.uid.clone(),
        namespace: spec.namespace.clone(),
        attempt: spec.attempt,
    }
}

fn namespaces(modes: &PodNamespaceModes) -> v1::NamespaceOption {
    let mode = |mode: &NamespaceMode| -> i32 {
        match mode {
            NamespaceMode::Pod => v1::NamespaceMode::Pod,
            NamespaceMode::Container => v1::NamespaceMode::Container,
            NamespaceMode::Node => v1::NamespaceMode::Node,
            NamespaceMode::Target(_) => v1::NamespaceMode::Target,
        }
        .into()
    };
    v1::NamespaceOption {
        network: mode(&modes.network),
        pid: mode(&modes.pid),
        ipc: mode(&modes.ipc),
        target_id: String::new(),
        userns_options: modes.user.as_ref().map(|user| v1::UserNamespace {
            mode: v1::NamespaceMode::Pod.into(),
            uids: id_mappings(&user.uids),
            gids: id_mappings(&user.gids),
        }),
    }
}

pub fn id_mappings(mappings: &[IdMapping]) -> Vec<v1::IdMapping> {
    let mapping = |m: &IdMapping| v1::IdMapping { host_id: m.host_id, container_id: m.container_id, length: m.length };
    mappings.iter().map(mapping).collect()
}
