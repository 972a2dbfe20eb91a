//! Containers.

use cradle_cri_api::v1;
use cradle_domain::lifecycle::container::ContainerState;
use cradle_engine::spec::{ContainerSpec, ImageRequest, Mount, MountSource, Propagation};
use cradle_engine::view::ContainerView;

use super::pod::id_mappings;
use super::resources::resources;
use super::signal::signal;

/// The exit code of a container whose end nobody saw.
const UNKNOWN_EXIT_CODE: i32 = 255;

pub fn container_state(state: ContainerState) -> v1::ContainerState {
    match state {
        ContainerState::Created | ContainerState::Starting => v1::ContainerState::ContainerCreated,
        ContainerState::Running => v1::ContainerState::ContainerRunning,
        ContainerState::Exited => v1::ContainerState::ContainerExited,
        ContainerState::Removing => v1::ContainerState::ContainerUnknown,
    }
}

/// A container as lists show it.
pub fn container(view: &ContainerView) -> v1::Container {
    v1::Container {
        id: view.id.to_string(),
        pod_sandbox_id: view.pod.to_string(),
        metadata: Some(metadata(&view.spec)),
        image: Some(image_spec(&view.spec.image)),
        image_ref: view.image.id.to_string(),
        state: container_state(view.state).into(),
        created_at: view.created_at.nanos(),
        labels: view.spec.labels.clone(),
        annotations: view.spec.annotations.clone(),
        image_id: view.image.id.to_string(),
    }
}

/// A container in full. `mounted_image` tells the digest of an image that a mount names.
pub fn container_status(view: &ContainerView, mounted_image: impl Fn(&str) -> String) -> v1::ContainerStatus {
    let id = view.image.id.to_string();
    // Nodes and people read here what runs; the request only has the image's id.
    let image = v1::ImageSpec { image: view.image.name.clone(), ..image_spec(&view.spec.image) };
    let image_ref = if view.image.digest_reference.is_empty() { &id } else { &view.image.digest_reference };
    v1::ContainerStatus {
        id: view.id.to_string(),
        metadata: Some(metadata(&view.spec)),
        state: container_state(view.state).into(),
        created_at: view.created_at.nanos(),
        started_at: view.started_at.nanos(),
        finished_at: view.finished_at.nanos(),
        exit_code: exit_code(view),
        image: Some(image),
        image_ref: image_ref.clone(),
        reason: view.reason.clone(),
        message: view.message.clone(),
        labels: view.spec.labels.clone(),
        annotations: view.spec.annotations.clone(),
        mounts: view.spec.mounts.iter().map(|item| mount(item, &mounted_image)).collect(),
        log_path: log_path(view),
        resources: Some(v1::ContainerResources { linux: Some(resources(&view.resources)), windows: None }),
        image_id: id,
        user: Some(v1::ContainerUser {
            linux: Some(v1::LinuxContainerUser {
                uid: view.user.uid.into(),
                gid: view.user.gid.into(),
                supplemental_groups: view.user.additional_gids.iter().copied().map(i64::from).collect(),
            }),
        }),
        stop_signal: signal(view.stop_signal).into(),
    }
}

fn exit_code(view: &ContainerView) -> i32 {
    match (&view.exit, view.state) {
        (Some(exit), _) => exit.code,
        (None, ContainerState::Exited | ContainerState::Removing) => UNKNOWN_EXIT_CODE,
        (None, ContainerState::Created | ContainerState::Starting | ContainerState::Running) => 0,
    }
}

/// Never empty: the kubelet removes what the path followed by `*` matches, which for an empty one is the root folder's
/// content (kubernetes#107717). A container without a log has a path that nothing lies at.
fn log_path(view: &ContainerView) -> String {
    if view.log_path.is_empty() { format!("/nonexistent/{}.log", view.id) } else { view.log_path.clone() }
}

pub fn metadata(spec: &ContainerSpec) -> v1::ContainerMetadata {
    v1::ContainerMetadata { name: spec.name.clone(), attempt: spec.attempt }
}

fn image_spec(request: &ImageRequest) -> v1::ImageSpec {
    v1::ImageSpec {
        image: request.image.clone(),
        annotations: request.annotations.clone(),
        user_specified_image: request.user_specified.clone(),
        runtime_handler: request.handler.clone(),
        image_ref: String::new(),
    }
}

fn mount(mount: &Mount, mounted_image: impl Fn(&str) -> String) -> v1::Mount {
    let propagation = match mount.propagation {
        Propagation::Private => v1::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => v1::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => v1::MountPropagation::PropagationBidirectional,
    };
    let (host_path, image, image_sub_path) = match &mount.source {
        MountSource::Host(path) => (path.clone(), None, String::new()),
        MountSource::Image { image, sub_path } => {
            let spec = v1::ImageSpec { image_ref: mounted_image(&image.image), ..image_spec(image) };
            (String::new(), Some(spec), sub_path.clone())
        }
    };
    v1::Mount {
        container_path: mount.container_path.clone(),
        host_path,
        readonly: mount.readonly,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation.into(),
        uid_mappings: id_mappings(&mount.uid_mappings),
        gid_mappings: id_mappings(&mount.gid_mappings),
        recursive_read_only: mount.recursive_readonly,
        image,
        image_sub_path,
    }
}
