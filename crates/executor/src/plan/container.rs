//! The plan of a container: its namespaces, its file system, and then its process.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Process, Spec};

use super::mount_options::{self, Attributes, PropagationKind};
use super::mounts::{self, MountContext};
use super::{
    Console, ContainerPlan, Depth, IdMapping, ImageOwners, Mount, MountSource, Namespace, Namespaces, POD_NAMESPACE,
    PlanContext, PlanError, Rootfs, Step, devices, process,
};
use crate::cgroup;

/// Plans a container. Pure: nothing is looked at but the arguments.
pub fn container(spec: &Spec, context: &PlanContext<'_>) -> Result<ContainerPlan, PlanError> {
    refuse_what_is_not_supported(spec)?;
    let facts = context.facts;
    let process = spec.process().as_ref().ok_or(PlanError::Missing { field: "process" })?;
    let linux = spec.linux().as_ref().ok_or(PlanError::Missing { field: "linux" })?;
    let namespaces = namespaces(linux)?;
    let mapping = user_namespace(linux, &namespaces)?;
    let path = linux.cgroups_path().as_ref().and_then(|path| path.to_str());
    let path = path.ok_or(PlanError::Missing { field: "linux.cgroupsPath" })?;
    let cgroup =
        cgroup::plan(path, linux.resources().as_ref(), &facts.layout).map_err(|source| PlanError::Cgroup { source })?;
    let label = label(linux, facts.selinux)?;
    let mounting = MountContext {
        layout: &facts.layout,
        cgroup: &cgroup.path,
        cgroup_namespace: &namespaces.cgroup,
        label: label.as_deref(),
    };
    let mounts = mounts::plan(spec.mounts().as_deref().unwrap_or_default(), &mounting)?;
    let mut steps = Vec::with_capacity(96);
    steps.extend([Step::OpenBindSources, Step::IsolateMounts]);
    let root = Step::MountRoot { rootfs: context.rootfs.clone(), label: label.clone() };
    match &mapping {
        Some(mapping) => {
            if context.owners == ImageOwners::Original {
                let folders = layers(&context.rootfs, &mounts);
                steps.push(Step::MapOwners { folders, mapping: mapping.clone() });
            }
            steps.extend([root, Step::MakeSources]);
            steps.extend(process::enter_user_namespace(process, mapping, facts)?);
        }
        None => steps.push(root),
    }
    steps.extend(mounts);
    if !has_foreign_dev(&steps) {
        steps.extend(devices::plan(linux.devices().as_deref().unwrap_or_default())?);
    }
    if process.terminal().unwrap_or(false) {
        steps.push(Step::OpenTerminal { console: Console::Bound });
    }
    steps.push(Step::MakeDirectory { at: process::directory(process)? });
    let paths = |list: &Option<Vec<String>>| list.iter().flatten().map(PathBuf::from).collect::<Vec<_>>();
    steps.extend(paths(linux.readonly_paths()).into_iter().map(Step::ProtectPath));
    steps.extend(paths(linux.masked_paths()).into_iter().map(Step::MaskPath));
    steps.extend(kernel_settings(spec, linux, &namespaces)?);
    steps.extend(root_steps(spec, linux)?);
    steps.extend(process_steps(process, linux, mapping.as_ref(), context)?);
    Ok(ContainerPlan { id: context.id.clone(), layout: facts.layout.clone(), cgroup, namespaces, steps })
}

fn process_steps(
    process: &Process,
    linux: &Linux,
    mapping: Option<&IdMapping>,
    context: &PlanContext<'_>,
) -> Result<Vec<Step>, PlanError> {
    let filter = process::compile_filter(linux.seccomp().as_ref(), context.facts)?;
    let keyring = process::c_string("id", &format!("_ses.{}", context.id))?;
    process::plan(process, filter.as_ref(), keyring, mapping, context.facts)
}

/// The folders of images that the container sees, each once.
fn layers(rootfs: &Rootfs, mounts: &[Step]) -> Vec<PathBuf> {
    let root = match rootfs {
        Rootfs::Overlay { lower, .. } => lower.as_slice(),
        Rootfs::Directory(path) => std::slice::from_ref(path),
    };
    let volumes = mounts.iter().filter_map(|step| match step {
        Step::Mount(Mount { what: MountSource::Overlay { lower, .. }, .. }) => Some(lower),
        _ => None,
    });
    let mut folders: Vec<PathBuf> = Vec::with_capacity(root.len());
    for folder in root.iter().chain(volumes.flatten()) {
        if !folders.contains(folder) {
            folders.push(folder.clone());
        }
    }
    folders
}

/// The host's `/dev`, or any other, has its nodes already.
fn has_foreign_dev(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::Mount(mount) => mount.at == Path::new("/dev") && matches!(mount.what, MountSource::Bind { .. }),
        _ => false,
    })
}

/// Entering the root, its propagation and its protection.
fn root_steps(spec: &Spec, linux: &Linux) -> Result<Vec<Step>, PlanError> {
    let mut steps = vec![Step::EnterRoot];
    if let Some(text) = linux.rootfs_propagation().as_deref().filter(|text| !text.is_empty()) {
        let problem = "is no propagation";
        let invalid = || PlanError::Invalid { field: "linux.rootfsPropagation", value: text.into(), problem };
        let propagation = mount_options::parse_propagation(text).ok_or_else(invalid)?;
        // The root is private and has no master: only these two change anything.
        if matches!(propagation.kind, PropagationKind::Shared | PropagationKind::Unbindable) {
            steps.push(Step::PropagateRoot(mount_options::Propagation { depth: Depth::Mount, ..propagation }));
        }
    }
    if spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)) {
        steps.push(Step::ChangeMount { at: "/".into(), attributes: Attributes::READ_ONLY });
    }
    Ok(steps)
}

/// Host name, domain name and sysctls, as far as the namespace they belong to is not the host's.
fn kernel_settings(spec: &Spec, linux: &Linux, namespaces: &Namespaces) -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::new();
    let names = [("hostname", spec.hostname()), ("domainname", spec.domainname())];
    for (field, name) in names.into_iter().filter_map(|(field, name)| Some((field, name.as_deref()?))) {
        if name.is_empty() {
            continue;
        }
        if namespaces.uts == Namespace::Host {
            let problem = "cannot be set in the host's UTS namespace";
            return Err(PlanError::Invalid { field, value: name.into(), problem });
        }
        let name = process::c_string(field, name)?;
        steps.push(if field == "hostname" { Step::SetHostname(name) } else { Step::SetDomainname(name) });
    }
    let mut sysctls: Vec<(&String, &String)> = linux.sysctl().iter().flatten().collect();
    sysctls.sort();
    for (name, value) in sysctls {
        check_sysctl(name, namespaces)?;
        steps.push(Step::SetSysctl { name: name.clone(), value: value.clone() });
    }
    Ok(steps)
}

/// A sysctl of a namespace, and of one that is not the host's (runtime-spec, config-linux.md, Sysctl).
fn check_sysctl(name: &str, namespaces: &Namespaces) -> Result<(), PlanError> {
    let invalid = |problem| PlanError::Invalid { field: "linux.sysctl", value: name.into(), problem };
    let namespace = match crate::sysctl::namespace(name) {
        Some(crate::sysctl::Owner::Network) => &namespaces.network,
        Some(crate::sysctl::Owner::Ipc) => &namespaces.ipc,
        Some(crate::sysctl::Owner::Uts) => return Err(invalid("is set by hostname and domainname")),
        None => return Err(invalid("belongs to no namespace: it would change the host")),
    };
    if *namespace == Namespace::Host { Err(invalid("belongs to a namespace that is the host's")) } else { Ok(()) }
}

fn namespaces(linux: &Linux) -> Result<Namespaces, PlanError> {
    let mut planned = Namespaces::default();
    let mut mount = false;
    for listed in linux.namespaces().iter().flatten() {
        let namespace = match listed.path() {
            None => Namespace::New,
            Some(path) if path == Path::new("") => Namespace::New,
            Some(path) if path == Path::new(POD_NAMESPACE) => Namespace::Pod,
            Some(path) => Namespace::Path(path.clone()),
        };
        match listed.typ() {
            LinuxNamespaceType::Mount if namespace == Namespace::New => mount = true,
            LinuxNamespaceType::Mount => {
                return Err(PlanError::Unimplemented { feature: "a container in another's mount namespace".into() });
            }
            LinuxNamespaceType::Pid => planned.pid = namespace,
            LinuxNamespaceType::Network => planned.network = namespace,
            LinuxNamespaceType::Ipc => planned.ipc = namespace,
            LinuxNamespaceType::Uts => planned.uts = namespace,
            LinuxNamespaceType::Cgroup => planned.cgroup = namespace,
            LinuxNamespaceType::User if namespace == Namespace::Pod => {}
            LinuxNamespaceType::User => {
                return Err(PlanError::Unimplemented { feature: "a user namespace that is not the pod's".into() });
            }
            LinuxNamespaceType::Time => {
                return Err(PlanError::Unimplemented { feature: "a time namespace".into() });
            }
        }
    }
    if planned.cgroup == Namespace::Pod {
        return Err(PlanError::Unimplemented { feature: "a cgroup namespace of the pod".into() });
    }
    if mount { Ok(planned) } else { Err(PlanError::Missing { field: "new mount namespace" }) }
}

/// The mapping of the pod's user namespace, if the container is in that; none: it is in the host's.
fn user_namespace(linux: &Linux, namespaces: &Namespaces) -> Result<Option<IdMapping>, PlanError> {
    let mut listed = linux.namespaces().iter().flatten();
    let is_listed = listed.any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let ranges = |listed: &Option<Vec<LinuxIdMapping>>| mounts::id_ranges(listed.as_deref().unwrap_or_default());
    let mapping = IdMapping { uids: ranges(linux.uid_mappings()), gids: ranges(linux.gid_mappings()) };
    let invalid = |field, problem| Err(PlanError::Invalid { field, value: format!("{}", mapping), problem });
    match (is_listed, mapping.outer_uid(0), mapping.outer_gid(0)) {
        (false, ..) if mapping == IdMapping::default() => Ok(None),
        (false, ..) => invalid("linux.uidMappings", "is a mapping without a user namespace"),
        (true, Some(_), Some(_)) => {
            let of_host = [&namespaces.pid, &namespaces.ipc].contains(&&Namespace::Host);
            if of_host {
                return invalid("linux.namespaces", "is a user namespace that cannot have the host's processes or IPC");
            }
            Ok(Some(mapping))
        }
        (true, ..) => invalid("linux.uidMappings", "does not map the user 0 and the group 0"),
    }
}

fn label(linux: &Linux, selinux: bool) -> Result<Option<String>, PlanError> {
    match linux.mount_label().clone().filter(|label| !label.is_empty()) {
        Some(label) if !selinux => Err(PlanError::Unimplemented {
            feature: format!("the mount label {label:?}, as SELinux is not active on this machine,"),
        }),
        label => Ok(label),
    }
}

fn refuse_what_is_not_supported(spec: &Spec) -> Result<(), PlanError> {
    let linux = spec.linux().as_ref();
    let given = |field: fn(&Linux) -> bool| linux.is_some_and(field);
    let has_hooks = spec.hooks().as_ref().is_some_and(|hooks| *hooks != oci_spec::runtime::Hooks::default());
    let feature = match () {
        () if has_hooks => "hooks",
        () if given(|linux| linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())) => {
            "linux.netDevices"
        }
        () if given(|linux| linux.intel_rdt().is_some()) => "linux.intelRdt",
        () if given(|linux| linux.memory_policy().is_some()) => "linux.memoryPolicy",
        () if given(|linux| linux.personality().is_some()) => "linux.personality",
        () if given(|linux| linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty())) => {
            "linux.timeOffsets"
        }
        () => return Ok(()),
    };
    Err(PlanError::Unimplemented { feature: feature.into() })
}
