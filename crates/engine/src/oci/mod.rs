//! From what was asked for to an OCI runtime specification, the field's common language. [`build`] is pure, with golden
//! files; what it needs of the machine (device numbers, profile files, layers of image volumes) is gathered first.

mod capabilities;
mod devices;
mod mounts;
mod process;
mod resources;

use std::path::PathBuf;

use cradle_domain::Failure;
use cradle_executor::plan::POD_NAMESPACE;
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxNamespace, LinuxNamespaceType, LinuxSeccomp, Mount, Process, Root, Spec,
};

pub(crate) use resources::limits;

use crate::act::run_pod;
use crate::container::Container;
use crate::engine::Core;
use crate::host_path;
use crate::pod::Pod;
use crate::spec::{ContainerSecurity, ContainerSpec, MountSource, NamespaceMode, PodSpec, Profile};
use crate::view::{ContainerUser, ImageConfig};

/// The version of the runtime specification that is written.
const OCI_VERSION: &str = "1.2.0";

/// All that a specification is made from.
pub(crate) struct Inputs<'a> {
    pub pod: &'a PodSpec,
    pub container: &'a ContainerSpec,
    pub image: &'a ImageConfig,
    pub user: &'a ContainerUser,
    pub hostname: &'a str,
    /// The folder of the pod's own files.
    pub pod_folder: PathBuf,
    pub cgroup: &'a str,
    pub seccomp: Option<LinuxSeccomp>,
    pub devices: Vec<LinuxDevice>,
    /// Read-only mounts of images, at the places of the request.
    pub image_mounts: Vec<Mount>,
    /// The PID namespace of a container that is the target, as a file.
    pub target_pid: Option<PathBuf>,
}

/// The specification of a container.
pub(crate) async fn container(core: &Core, pod: &Pod, container: &Container) -> Result<Spec, Failure> {
    let security = &container.spec.security;
    let inputs = Inputs {
        seccomp: seccomp(core, security).await?,
        image_mounts: image_mounts(core, pod, container).await?,
        target_pid: target_pid(core, security)?,
        devices: devices(&container.spec).await?,
        ..inputs(core, pod, container)
    };
    build(&inputs)
}

/// The process of an exec: the container's own, whose arguments are replaced.
pub(crate) fn exec_process(core: &Core, pod: &Pod, container: &Container) -> Result<Process, Failure> {
    process::build(&inputs(core, pod, container))
}

/// What is known without asking the machine.
fn inputs<'a>(core: &'a Core, pod: &'a Pod, container: &'a Container) -> Inputs<'a> {
    Inputs {
        pod: &pod.spec,
        container: &container.spec,
        image: &container.image_config,
        user: &container.user,
        hostname: run_pod::hostname(core, &pod.spec),
        pod_folder: core.pod_folder(&pod.id),
        cgroup: &container.cgroup,
        seccomp: None,
        devices: Vec::new(),
        image_mounts: Vec::new(),
        target_pid: None,
    }
}

async fn seccomp(core: &Core, security: &ContainerSecurity) -> Result<Option<LinuxSeccomp>, Failure> {
    // Whatever is asked for, a privileged container has no filter.
    let profile = if security.privileged { &Profile::Unconfined } else { &security.seccomp };
    core.seccomp.resolve(profile, capabilities::bounding(security)?).await
}

async fn devices(spec: &ContainerSpec) -> Result<Vec<LinuxDevice>, Failure> {
    let (privileged, asked) = (spec.security.privileged, spec.devices.clone());
    if !privileged && asked.is_empty() {
        return Ok(Vec::new());
    }
    host_path::read("the devices of the request", move || devices::of(privileged, &asked)).await
}

fn target_pid(core: &Core, security: &ContainerSecurity) -> Result<Option<PathBuf>, Failure> {
    let NamespaceMode::Target(target) = &security.pid else { return Ok(None) };
    let view = core.container(target.as_str())?.view();
    let pid = view.pid.ok_or_else(|| {
        let text = format!("container {target}, whose processes are to be seen, is not running");
        Failure::new(cradle_domain::Class::Refused, text)
    })?;
    Ok(Some(format!("/proc/{pid}/ns/pid").into()))
}

async fn image_mounts(core: &Core, pod: &Pod, container: &Container) -> Result<Vec<Mount>, Failure> {
    let mut mounts = Vec::new();
    for mount in &container.spec.mounts {
        if let MountSource::Image { image, sub_path } = &mount.source {
            let found = core.ports.images.find(&image.image).ok_or_else(|| {
                let text =
                    format!("image {:?} for the mount at {:?} is not on this node", image.image, mount.container_path);
                Failure::new(cradle_domain::Class::NotFound, text).with_hint("pull it first")
            })?;
            let layers = core.ports.images.lend(&container.id, &found.id, pod.user_namespace()).await?;
            mounts.push(mounts::of_image(&mount.container_path, &layers, sub_path));
        }
    }
    Ok(mounts)
}

/// The specification. Pure.
pub(crate) fn build(inputs: &Inputs<'_>) -> Result<Spec, Failure> {
    let security = &inputs.container.security;
    let mut root = Root::default();
    root.set_path("rootfs".into()).set_readonly(Some(security.readonly_rootfs));
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(inputs)))
        .set_cgroups_path(Some(inputs.cgroup.into()))
        .set_resources(Some(resources::with_devices(inputs)?))
        .set_devices(Some(inputs.devices.clone()))
        .set_seccomp(inputs.seccomp.clone())
        .set_rootfs_propagation(Some(mounts::root_propagation(inputs.container).into()))
        .set_masked_paths(Some(paths(security, &security.masked_paths, MASKED)))
        .set_readonly_paths(Some(paths(security, &security.readonly_paths, READONLY)));
    if let Some(user) = &inputs.pod.namespaces.user {
        linux.set_uid_mappings(Some(mounts::mappings(&user.uids))).set_gid_mappings(Some(mounts::mappings(&user.gids)));
    }
    if let Some(label) = process::selinux_label(security) {
        linux.set_mount_label(Some(label));
    }
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.into())
        .set_root(Some(root))
        .set_process(Some(process::build(inputs)?))
        .set_mounts(Some(mounts::build(inputs)))
        .set_hostname(None)
        .set_annotations(None)
        .set_linux(Some(linux));
    Ok(spec)
}

fn namespaces(inputs: &Inputs<'_>) -> Vec<LinuxNamespace> {
    let own = |kind, path: Option<PathBuf>| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind).set_path(path);
        namespace
    };
    let pods = || Some(PathBuf::from(POD_NAMESPACE));
    let mut all = vec![own(LinuxNamespaceType::Mount, None), own(LinuxNamespaceType::Cgroup, None)];
    match &inputs.container.security.pid {
        // A pod whose containers have one each has none to share.
        NamespaceMode::Pod if inputs.pod.namespaces.pid == NamespaceMode::Pod => {
            all.push(own(LinuxNamespaceType::Pid, pods()));
        }
        NamespaceMode::Container | NamespaceMode::Pod => all.push(own(LinuxNamespaceType::Pid, None)),
        NamespaceMode::Target(_) => all.push(own(LinuxNamespaceType::Pid, inputs.target_pid.clone())),
        NamespaceMode::Node => {}
    }
    if inputs.pod.namespaces.user.is_some() {
        all.push(own(LinuxNamespaceType::User, pods()));
    }
    if inputs.pod.namespaces.network != NamespaceMode::Node {
        all.push(own(LinuxNamespaceType::Network, pods()));
        all.push(own(LinuxNamespaceType::Uts, pods()));
    }
    if inputs.pod.namespaces.ipc != NamespaceMode::Node {
        all.push(own(LinuxNamespaceType::Ipc, pods()));
    }
    all
}

/// What is hidden from containers that do not say otherwise, as Kubernetes and docker have it.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A request without a list cannot be told from one with an empty list: it gets the default one.
fn paths(security: &ContainerSecurity, asked: &[String], default: &[&str]) -> Vec<String> {
    match (security.privileged, asked.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => default.iter().map(|path| (*path).to_owned()).collect(),
        (false, false) => asked.to_vec(),
    }
}
