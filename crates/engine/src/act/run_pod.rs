//! RunPodSandbox: record, start the shim, make the namespaces, connect the network, answer.
//!
//! A pod that could not be built is taken apart by the same act that removes one ([`super::tear_down`]): it can be
//! repeated, whatever of the pod is there.

use std::sync::Arc;

use cradle_domain::lifecycle::pod::{PodEvent, PodState};
use cradle_domain::{Class, Failure, PodId};
use cradle_executor::plan;
use cradle_executor::pod::{PidShare, PodPlan, Share};
use cradle_shim::protocol::{Reply, Request};
use tokio::sync::mpsc;

use crate::creations::{Creation, Entry};
use crate::engine::{Core, detached};
use crate::pod::{Pod, PodKey};
use crate::pod_cgroup::Parent;
use crate::ports::{Attachment, PodRecord, ShimEvent, ShimLink, UserNamespaceSupport};
use crate::spec::{IdMapping, NamespaceMode, PodSpec, UserNamespace};
use crate::{act, limits, pod_files, request};

/// Runs a pod, or joins the same request.
pub(crate) async fn run_pod(core: &Arc<Core>, spec: PodSpec) -> Result<PodId, Failure> {
    check(core, &spec)?;
    let cgroup_parent = Parent::parse(&spec.cgroup_parent)?;
    let id = PodId::from_random(cradle_sys::random::bytes().map_err(no_random)?);
    let creation = match core.creations.enter(PodKey::of(&spec), spec, || id)? {
        Entry::New(creation) => {
            request::spawn(create(core.clone(), creation.clone(), cgroup_parent));
            creation
        }
        Entry::Same(creation) => creation,
    };
    creation.wait().await?;
    let state = core.pods.get(&creation.id).map(|pod| pod.state());
    match state {
        Some(PodState::Ready) => Ok(creation.id.clone()),
        _ => Err(stopped(&creation.id)),
    }
}

fn no_random(errno: rustix::io::Errno) -> Failure {
    Failure::new(Class::Unavailable, format!("drawing a random id: {errno}"))
}

fn stopped(id: &PodId) -> Failure {
    Failure::new(Class::Conflict, format!("the pod sandbox {id} of this name and attempt exists and was stopped"))
        .with_hint("remove it first, or ask with the next attempt")
}

/// What no machine can do, or this one cannot.
fn check(core: &Core, spec: &PodSpec) -> Result<(), Failure> {
    if !matches!(spec.handler.as_str(), "" | "cradle") {
        let text = format!("the runtime handler {:?} is not configured", spec.handler);
        return Err(Failure::new(Class::NotFound, text).with_hint("this node has the handlers \"\" and \"cradle\""));
    }
    if spec.namespaces.user.is_some() {
        check_user_namespace(core, spec)?;
    }
    if spec.hostname.len() > limits::HOSTNAME_MAX_BYTES {
        let text = format!("the host name {:?} is longer than {} bytes", spec.hostname, limits::HOSTNAME_MAX_BYTES);
        return Err(Failure::new(Class::Invalid, text));
    }
    Ok(())
}

/// Processes, IPC objects and message queues of the host belong to users that the pod's user namespace does not know. Its
/// network can be the host's.
fn check_user_namespace(core: &Core, spec: &PodSpec) -> Result<(), Failure> {
    for (what, mode) in [("PID", &spec.namespaces.pid), ("IPC", &spec.namespaces.ipc)] {
        if *mode == NamespaceMode::Node {
            let text = format!("a pod with a user namespace of its own cannot have the host's {what} namespace");
            return Err(Failure::new(Class::Invalid, text));
        }
    }
    if let UserNamespaceSupport::Impossible { why } = &core.settings.user_namespaces {
        let text = format!("pods cannot have user namespaces on this machine: {why}");
        return Err(Failure::new(Class::Unimplemented, text).with_hint("set hostUsers to true, or leave it out"));
    }
    Ok(())
}

/// Creates the pod and tells all who wait, also of a panic.
async fn create(core: Arc<Core>, creation: Arc<Creation<PodSpec, PodId>>, cgroup_parent: Parent) {
    let cgroup = cgroup_parent.group(&core.settings.cgroup_root, &creation.id);
    let pod = Pod::new(creation.id.clone(), creation.spec.clone(), cgroup);
    let created = detached(build_or_undo(core.clone(), pod.clone())).await;
    if created.is_err() {
        core.creations.forget(&pod.key, &pod.id);
    }
    let doing = || format!("running pod {}/{}", pod.spec.namespace, pod.spec.name);
    creation.finish(created.map_err(|failure| failure.context(doing())));
}

async fn build_or_undo(core: Arc<Core>, pod: Arc<Pod>) -> Result<(), Failure> {
    // Before anyone can find the pod: whoever stops or removes it waits until it is built or undone.
    let _alone = pod.lane.write().await;
    core.pods.insert(pod.id.clone(), pod.clone());
    let built = detached(build(core.clone(), pod.clone())).await;
    if built.is_err() {
        pod.observe(PodEvent::BuildFailed);
        act::tear_down::pod_or_repair(&core, &pod).await;
    }
    built
}

async fn build(core: Arc<Core>, pod: Arc<Pod>) -> Result<(), Failure> {
    core.ports.records.save_pod(&pod.record()).await?;
    let (sender, events) = mpsc::channel::<ShimEvent>(limits::SHIM_EVENTS);
    let link = core.ports.shims.launch(&pod.id, sender).await?;
    act::events::attend(&core, &pod, link.clone(), events);
    let set_up = Request::SetUpPod(Box::new(pod_plan(&core, &pod.spec)));
    let request_id = request::current();
    let (Reply::PodReady, descriptors) = link.call(&request_id, set_up, Vec::new()).await? else {
        return Err(wrong_answer());
    };
    if pod.has_own_network() {
        let addresses = connect(&core, &pod, link.as_ref(), descriptors).await?;
        pod.set_addresses(addresses);
    }
    for (name, content) in pod_files::contents(&core.settings, &pod.view()) {
        core.ports.records.put_file(&pod.id, name, content.into_bytes()).await?;
    }
    // Nobody sees it before its record says so.
    core.ports.records.save_pod(&PodRecord { state: PodState::Ready, ..pod.record() }).await?;
    pod.observe(PodEvent::Built);
    // Its shim may have died meanwhile.
    if pod.state() == PodState::Removing { Err(shim_died(&pod)) } else { Ok(()) }
}

fn shim_died(pod: &Pod) -> Failure {
    Failure::new(Class::Unavailable, format!("the shim of pod {} died while the pod was being built", pod.id))
}

fn wrong_answer() -> Failure {
    Failure::new(Class::Bug, "the shim's answer was of another kind than the request's")
}

async fn connect(
    core: &Core,
    pod: &Pod,
    link: &dyn ShimLink,
    descriptors: Vec<std::os::fd::OwnedFd>,
) -> Result<Vec<std::net::IpAddr>, Failure> {
    let Ok([netlink, namespace_fd]) = <[_; 2]>::try_from(descriptors) else { return Err(wrong_answer()) };
    let attachment = Attachment {
        pod: pod.id.clone(),
        name: pod.spec.name.clone(),
        namespace: pod.spec.namespace.clone(),
        uid: pod.spec.uid.clone(),
        netlink,
        namespace_fd,
        namespace_path: format!("/proc/{}/ns/net", link.pid()).into(),
        port_mappings: pod.spec.port_mappings.clone(),
    };
    let attached = core.ports.network.attach(attachment).await;
    Ok(attached.map_err(|failure| failure.context("connecting the pod's network"))?.addresses)
}

fn pod_plan(core: &Core, spec: &PodSpec) -> PodPlan {
    let share = |mode: &NamespaceMode| if *mode == NamespaceMode::Node { Share::Host } else { Share::New };
    let network = share(&spec.namespaces.network);
    PodPlan {
        network,
        ipc: share(&spec.namespaces.ipc),
        uts: network,
        pid: match spec.namespaces.pid {
            NamespaceMode::Pod => PidShare::Pod,
            NamespaceMode::Node => PidShare::Host,
            NamespaceMode::Container | NamespaceMode::Target(_) => PidShare::Container,
        },
        hostname: hostname(core, spec).to_owned(),
        sysctls: sysctls(spec, network),
        shm_size_bytes: limits::POD_SHM_BYTES,
        user: spec.namespaces.user.as_ref().map(id_mapping),
    }
}

fn id_mapping(user: &UserNamespace) -> plan::IdMapping {
    let range = |mapping: &IdMapping| plan::IdRange {
        inside: mapping.container_id,
        outside: mapping.host_id,
        length: mapping.length,
    };
    plan::IdMapping { uids: user.uids.iter().map(range).collect(), gids: user.gids.iter().map(range).collect() }
}

/// The name that the pod's processes see.
pub(crate) fn hostname<'a>(core: &'a Core, spec: &'a PodSpec) -> &'a str {
    if spec.hostname.is_empty() && spec.namespaces.network == NamespaceMode::Node {
        &core.settings.hostname
    } else {
        &spec.hostname
    }
}

/// The request's sysctls and, before them, what Kubernetes' users take for granted in a network namespace of the pod's:
/// every user may bind low ports and ping.
fn sysctls(spec: &PodSpec, network: Share) -> Vec<(String, String)> {
    let defaults = [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];
    let defaults = defaults.into_iter().filter(|(name, _)| network == Share::New && !spec.sysctls.contains_key(*name));
    let defaults = defaults.map(|(name, value)| (name.to_owned(), value.to_owned()));
    defaults.chain(spec.sysctls.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
}
