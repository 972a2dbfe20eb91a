//! The container's first process: arguments, environment, working directory, user, capabilities.

use cradle_domain::{Class, Failure};
use oci_spec::runtime::{PosixRlimitBuilder, PosixRlimitType, Process, User};

use super::{Inputs, capabilities};
use crate::spec::{ContainerSecurity, Profile};

/// What a shell and most programs expect when the image says nothing.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Open files of a process: what systemd gives services, instead of whatever the daemon's own unit says.
const OPEN_FILES_SOFT: u64 = 1024;
const OPEN_FILES_HARD: u64 = 524_288;

pub(super) fn build(inputs: &Inputs<'_>) -> Result<Process, Failure> {
    let security = &inputs.container.security;
    let mut user = User::default();
    user.set_uid(inputs.user.uid)
        .set_gid(inputs.user.gid)
        .set_additional_gids(Some(inputs.user.additional_gids.clone()));
    let open_files = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(OPEN_FILES_SOFT);
    let open_files = open_files.hard(OPEN_FILES_HARD).build();
    let open_files = open_files.map_err(|error| Failure::new(Class::Bug, format!("a limit on open files: {error}")))?;
    let mut process = Process::default();
    process
        .set_terminal(Some(inputs.container.terminal))
        .set_user(user)
        .set_args(Some(arguments(inputs)?))
        .set_env(Some(environment(inputs)))
        .set_cwd(working_dir(inputs).into())
        .set_capabilities(Some(capabilities::sets(security)?))
        .set_rlimits(Some(vec![open_files]))
        .set_no_new_privileges(Some(security.no_new_privs))
        .set_apparmor_profile(apparmor(security))
        .set_selinux_label(selinux_label(security))
        .set_oom_score_adj(i32::try_from(inputs.container.resources.oom_score_adj).ok());
    Ok(process)
}

/// The request's command replaces the image's entrypoint and, with it, the image's command.
fn arguments(inputs: &Inputs<'_>) -> Result<Vec<String>, Failure> {
    let (asked, image) = (inputs.container, inputs.image);
    let command = if asked.command.is_empty() { &image.entrypoint } else { &asked.command };
    let args = if asked.args.is_empty() && asked.command.is_empty() { &image.cmd } else { &asked.args };
    let arguments: Vec<String> = command.iter().chain(args).cloned().collect();
    if arguments.is_empty() {
        let text = "there is nothing to run: neither the request nor the image names a command";
        return Err(Failure::new(Class::Invalid, text));
    }
    Ok(arguments)
}

fn working_dir<'a>(inputs: &'a Inputs<'_>) -> &'a str {
    let asked = [inputs.container.working_dir.as_str(), inputs.image.working_dir.as_str()];
    asked.into_iter().find(|folder| !folder.is_empty()).unwrap_or("/")
}

/// The image's variables, then the runtime's, then the request's; a later one replaces an earlier one of its name.
fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let mut variables: Vec<String> = Vec::new();
    let mut put = |variable: String| {
        let name_end = variable.find('=').map_or(variable.len(), |at| at + 1);
        match variables.iter_mut().find(|present| present.starts_with(&variable[..name_end])) {
            Some(present) => *present = variable,
            None => variables.push(variable),
        }
    };
    put(DEFAULT_PATH.into());
    if inputs.container.terminal {
        put("TERM=xterm".into());
    }
    if !inputs.hostname.is_empty() {
        put(format!("HOSTNAME={}", inputs.hostname));
    }
    put(format!("HOME={}", inputs.user.home));
    inputs.image.env.iter().filter(|variable| variable.contains('=')).for_each(|variable| put(variable.clone()));
    for (name, value) in &inputs.container.env {
        put(format!("{name}={value}"));
    }
    variables
}

fn apparmor(security: &ContainerSecurity) -> Option<String> {
    match &security.apparmor {
        Profile::Localhost(name) if !security.privileged => Some(name.clone()),
        // The default profile would have to be loaded first: a later capability, and AppArmor's absence is no error.
        Profile::Localhost(_) | Profile::Unset | Profile::Unconfined | Profile::RuntimeDefault => None,
    }
}

/// `user:role:type:level`, when the request gives one and the container is not privileged.
pub(super) fn selinux_label(security: &ContainerSecurity) -> Option<String> {
    let label = security.selinux.as_ref().filter(|_| !security.privileged)?;
    let whole = [&label.user, &label.role, &label.kind, &label.level].into_iter().all(|part| !part.is_empty());
    whole.then(|| format!("{}:{}:{}:{}", label.user, label.role, label.kind, label.level))
}
