//! The part of a plan that both a container's first process and a further one have: who the process is, what it may do,
//! and its program.

use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxSeccomp, Process};

use super::capabilities::{CapabilitySet, CapabilitySets};
use super::{Facts, IdMapping, Identity, PlanError, SecurityModule, Step, limit};
use crate::seccomp;

/// What a program that no `PATH` is given for is looked up in (execvp(3), with the folders that images use).
const DEFAULT_SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The mode of new files, where the specification says nothing.
const DEFAULT_UMASK: u32 = 0o022;

/// Entering the pod's user namespace, and before it what is only for the host's root: a lower score against being killed
/// for lack of memory, and higher limits.
pub(super) fn enter_user_namespace(
    process: &Process,
    mapping: &IdMapping,
    facts: &Facts,
) -> Result<Vec<Step>, PlanError> {
    let mut steps: Vec<Step> = oom_score_adj(process, facts).into_iter().collect();
    for asked in process.rlimits().iter().flatten() {
        steps.push(Step::AllowLimit(limit::plan(asked, &facts.hard_limits)?));
    }
    let user = process.user();
    let outside = |id: u32| PlanError::Invalid {
        field: "process.user",
        value: id.to_string(),
        problem: "is not among the ids of the pod's user namespace",
    };
    let groups = std::iter::once(user.gid()).chain(user.additional_gids().iter().flatten().copied());
    for gid in groups {
        mapping.outer_gid(gid).ok_or_else(|| outside(gid))?;
    }
    let stdio_owner = mapping.outer_uid(user.uid()).ok_or_else(|| outside(user.uid()))?;
    steps.push(Step::EnterUserNamespace { mapping: mapping.clone(), stdio_owner });
    Ok(steps)
}

fn oom_score_adj(process: &Process, facts: &Facts) -> Option<Step> {
    process.oom_score_adj().map(|score| Step::SetOomScoreAdj(score.max(facts.oom_score_adj_floor)))
}

/// The steps from the session keyring to execve. `filter` is the container's, already compiled. With `mapping`, those of
/// [`enter_user_namespace`] have been done.
///
/// Order matters: limits and the bounding set need capabilities that are dropped later. The filter comes last, so that it
/// need allow nothing but execve; without no_new_privs it needs CAP_SYS_ADMIN, and where the container shall not have
/// that, the capabilities are set after it.
pub(super) fn plan(
    process: &Process,
    filter: Option<&seccomp::Program>,
    keyring: CString,
    mapping: Option<&IdMapping>,
    facts: &Facts,
) -> Result<Vec<Step>, PlanError> {
    refuse_what_is_not_supported(process)?;
    let user = process.user();
    let mut steps = vec![Step::JoinKeyring(keyring)];
    if mapping.is_none() {
        steps.extend(oom_score_adj(process, facts));
    }
    steps.extend(labels(process, facts)?);
    steps.push(Step::EnterDirectory(directory(process)?));
    steps.push(Step::SetUmask(user.umask().unwrap_or(DEFAULT_UMASK)));
    for asked in process.rlimits().iter().flatten() {
        steps.push(Step::SetLimit(limit::plan(asked, &facts.hard_limits)?));
    }
    let capabilities = CapabilitySets::plan(process.capabilities().as_ref(), facts.capabilities);
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let filter_last = no_new_privileges || capabilities.effective.contains(CapabilitySet::SYS_ADMIN);
    let filter = filter.map(|program| Step::InstallFilter(program.clone()));
    let supplementary_gids = user.additional_gids().clone().unwrap_or_default();
    let identity = Identity { uid: user.uid(), gid: user.gid(), supplementary_gids };
    let environment = c_strings("process.env", process.env().as_deref().unwrap_or_default())?;
    let (find, execute) = command(process.args().as_deref().unwrap_or_default(), environment)?;
    steps.extend([Step::LimitCapabilities(capabilities.bounding), Step::SetIdentity(identity)]);
    steps.extend([Step::DieWithShim, Step::CloseDescriptors]);
    let set = Step::SetCapabilities(capabilities);
    if filter_last {
        steps.extend([set, find]);
        steps.extend(no_new_privileges.then_some(Step::NoNewPrivileges));
        steps.extend(filter);
    } else {
        steps.push(find);
        steps.extend(filter);
        steps.push(set);
    }
    steps.push(execute);
    Ok(steps)
}

/// How a program is looked up and executed.
pub(super) fn command(arguments: &[String], environment: Vec<CString>) -> Result<(Step, Step), PlanError> {
    let arguments = c_strings("process.args", arguments)?;
    let name = arguments.first().filter(|name| !name.is_empty()).cloned();
    let name = name.ok_or(PlanError::Missing { field: "process.args" })?;
    let path = environment.iter().rev().find_map(|variable| variable.to_str().ok()?.strip_prefix("PATH="));
    let search = path.unwrap_or(DEFAULT_SEARCH).split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from);
    Ok((Step::FindProgram { name, search: search.collect() }, Step::Execute { arguments, environment }))
}

/// The filter of a container as a program.
pub(super) fn compile_filter(
    profile: Option<&LinuxSeccomp>,
    facts: &Facts,
) -> Result<Option<seccomp::Program>, PlanError> {
    let Some(profile) = profile else { return Ok(None) };
    if !facts.seccomp {
        return Err(PlanError::Unimplemented { feature: "a seccomp filter, without seccomp in the kernel,".into() });
    }
    seccomp::compile(profile, facts.architecture).map(Some).map_err(|source| PlanError::Seccomp { source })
}

/// Text as the kernel takes it. A NUL inside would cut it.
pub(super) fn c_string(field: &'static str, text: &str) -> Result<CString, PlanError> {
    CString::new(text).map_err(|_| PlanError::Invalid { field, value: text.into(), problem: "contains a NUL byte" })
}

fn c_strings(field: &'static str, texts: &[String]) -> Result<Vec<CString>, PlanError> {
    texts.iter().map(|text| c_string(field, text)).collect()
}

pub(super) fn directory(process: &Process) -> Result<PathBuf, PlanError> {
    let directory = process.cwd();
    if directory.is_absolute() {
        return Ok(directory.clone());
    }
    let value = directory.display().to_string();
    Err(PlanError::Invalid { field: "process.cwd", value, problem: "is not absolute" })
}

fn labels(process: &Process, facts: &Facts) -> Result<Option<Step>, PlanError> {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    let absent = |module: &str, label: &str| PlanError::Unimplemented {
        feature: format!("the {module} label {label:?}, as {module} is not active on this machine,"),
    };
    match (given(process.apparmor_profile()), given(process.selinux_label())) {
        (None, None) => Ok(None),
        (Some(label), _) if label != "unconfined" && !facts.apparmor => Err(absent("AppArmor", &label)),
        (_, Some(label)) if !facts.selinux => Err(absent("SELinux", &label)),
        (Some(label), None) if facts.apparmor => Ok(Some(Step::SetLabel { module: SecurityModule::AppArmor, label })),
        (Some(_), None) => Ok(None),
        (None, Some(label)) => Ok(Some(Step::SetLabel { module: SecurityModule::Selinux, label })),
        (Some(_), Some(_)) => Err(PlanError::Unimplemented { feature: "AppArmor and SELinux at the same time".into() }),
    }
}

fn refuse_what_is_not_supported(process: &Process) -> Result<(), PlanError> {
    let feature = match process {
        process if process.io_priority().is_some() => "process.ioPriority",
        process if process.scheduler().is_some() => "process.scheduler",
        process if process.exec_cpu_affinity().is_some() => "process.execCPUAffinity",
        _ => return Ok(()),
    };
    Err(PlanError::Unimplemented { feature: feature.into() })
}
