//! CreateContainer: a record, a writable layer and a plan; no process yet.

use std::sync::Arc;

use cradle_domain::lifecycle::container::ContainerState;
use cradle_domain::lifecycle::pod::PodRequest;
use cradle_domain::{Class, ContainerId, Failure, Signal, Timestamp};

use super::{start_container, tear_down};
use crate::container::Container;
use crate::creations::{Creation, Entry};
use crate::engine::{Core, detached};
use crate::pod::{ContainerKey, Pod};
use crate::ports::ContainerRecord;
use crate::spec::ContainerSpec;
use crate::view::{ContainerImage, ImageConfig, ImageView};
use crate::{apparmor, limits, request, user};

pub(crate) async fn create_container(
    core: &Arc<Core>,
    pod: Arc<Pod>,
    spec: ContainerSpec,
) -> Result<ContainerId, Failure> {
    let random = cradle_sys::random::bytes();
    let random = random.map_err(|errno| Failure::new(Class::Unavailable, format!("drawing a random id: {errno}")))?;
    let entry = pod.creations.enter(ContainerKey::of(&spec), spec, || ContainerId::from_random(random))?;
    let creation = match entry {
        Entry::New(creation) => {
            request::spawn(create(core.clone(), pod, creation.clone()));
            creation
        }
        Entry::Same(creation) => creation,
    };
    creation.wait().await?;
    Ok(creation.id.clone())
}

async fn create(core: Arc<Core>, pod: Arc<Pod>, creation: Arc<Creation<ContainerSpec, ContainerId>>) {
    let created = detached(build_or_undo(core, pod.clone(), creation.clone())).await;
    if created.is_err() {
        pod.creations.forget(&ContainerKey::of(&creation.spec), &creation.id);
    }
    creation.finish(created.map_err(|failure| failure.context(format!("creating container {}", creation.spec.name))));
}

async fn build_or_undo(
    core: Arc<Core>,
    pod: Arc<Pod>,
    creation: Arc<Creation<ContainerSpec, ContainerId>>,
) -> Result<(), Failure> {
    let _shared = pod.lane.read().await;
    let record = admit(&core, &pod, &creation).await?;
    let built = detached(build(core.clone(), pod.clone(), record.clone())).await;
    if built.is_err() {
        undo(&core, &pod, record).await;
    }
    built
}

/// Whether the container can be created, and what will be recorded of it.
async fn admit(
    core: &Core,
    pod: &Pod,
    creation: &Creation<ContainerSpec, ContainerId>,
) -> Result<ContainerRecord, Failure> {
    pod.admit(PodRequest::CreateContainer)?;
    if pod.containers().len() >= limits::CONTAINERS_PER_POD {
        let text = format!("the pod has {} containers already", limits::CONTAINERS_PER_POD);
        return Err(Failure::new(Class::Exhausted, text));
    }
    let spec = &creation.spec;
    if let Some(device) = spec.cdi_devices.first() {
        return Err(Failure::new(Class::Unimplemented, format!("the CDI device {device:?}: CDI is not built yet")));
    }
    if spec.security.privileged && !pod.spec.privileged {
        let text = "a privileged container needs a privileged pod sandbox";
        return Err(Failure::new(Class::Invalid, text));
    }
    apparmor::check_loaded(&spec.security).await?;
    let image = core.ports.images.find(&spec.image.image).ok_or_else(|| no_image(&spec.image.image))?;
    let user = user::resolve(core, spec, &image).await?;
    record(pod, creation, &image, user)
}

async fn build(core: Arc<Core>, pod: Arc<Pod>, record: ContainerRecord) -> Result<(), Failure> {
    // The record is the intention: whatever is made from here on has an owner.
    core.ports.records.save_container(&record).await?;
    let root = core.ports.images.prepare(&record.id, &record.image.id, pod.user_namespace()).await?;
    let container = Container::restore(record, root.upper.clone());
    start_container::plan(&core, &pod, &container, root).await?;
    core.containers.insert(container.id.clone(), container.clone());
    pod.add_container(container);
    Ok(())
}

/// Undoes what was made; what cannot be undone goes with the pod.
async fn undo(core: &Core, pod: &Pod, record: ContainerRecord) {
    let container = Container::restore(record, std::path::PathBuf::new());
    if let Err(failure) = tear_down::container(core, pod, &container).await {
        tracing::warn!(pod = %pod.id, %failure, "the rest of a container that was not created goes with its pod");
        container.removal_begun();
        pod.add_container(container);
    }
}

fn no_image(image: &str) -> Failure {
    Failure::new(Class::NotFound, format!("image {image:?} is not on this node")).with_hint("pull it first")
}

fn record(
    pod: &Pod,
    creation: &Creation<ContainerSpec, ContainerId>,
    image: &ImageView,
    user: crate::view::ContainerUser,
) -> Result<ContainerRecord, Failure> {
    let spec = creation.spec.as_ref();
    Ok(ContainerRecord {
        id: creation.id.clone(),
        pod: pod.id.clone(),
        image: container_image(image),
        image_config: ImageConfig { history: Vec::new(), ..ImageConfig::clone(&image.config) },
        state: ContainerState::Created,
        created_at: Timestamp::now(),
        started_at: Timestamp::default(),
        finished_at: Timestamp::default(),
        exit: None,
        reason: String::new(),
        message: String::new(),
        resources: spec.resources.clone(),
        stop_signal: spec.stop_signal.or(image.config.stop_signal).unwrap_or(Signal::TERM),
        log_path: log_path(&pod.spec.log_directory, &spec.log_path)?,
        user,
        cgroup: format!("{}/{}", pod.cgroup, creation.id),
        spec: spec.clone(),
    })
}

fn container_image(image: &ImageView) -> ContainerImage {
    let tag = image.tags.first().map(ToString::to_string);
    let digest = image.digests.first().cloned().unwrap_or_default();
    let name = tag.or_else(|| (!digest.is_empty()).then(|| digest.clone())).unwrap_or_else(|| image.id.to_string());
    ContainerImage { id: image.id.clone(), name, digest_reference: digest }
}

/// The log's absolute path; nothing for a container or a pod without one.
fn log_path(directory: &str, path: &str) -> Result<String, Failure> {
    if directory.is_empty() || path.is_empty() {
        return Ok(String::new());
    }
    let escapes = std::path::Path::new(path).components().any(|part| !matches!(part, std::path::Component::Normal(_)));
    if !directory.starts_with('/') || escapes {
        let text = format!("the log path {path:?} does not lie in the pod's log directory {directory:?}");
        return Err(Failure::new(Class::Invalid, text));
    }
    Ok(format!("{}/{path}", directory.trim_end_matches('/')))
}
