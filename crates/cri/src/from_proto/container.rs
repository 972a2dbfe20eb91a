//! Containers and commands.

use cradle_cri_api::v1;
use cradle_engine::spec::{ContainerSecurity, ContainerSpec};

use super::image::image_request;
use super::mount::{device, mount};
use super::namespace::container_pid;
use super::security::{Mechanism, capabilities, groups_policy, ids, optional_id, profile, selinux};
use super::signal::stop_signal;
use super::{Field, InvalidField, resources};

/// The container that a request asks for.
pub fn container(config: Option<v1::ContainerConfig>) -> Result<ContainerSpec, InvalidField> {
    let field = Field::root("config");
    let config = field.required(config)?;
    if config.windows.is_some() {
        return Err(field.at("windows").invalid("set", "this is a Linux node"));
    }
    let metadata_field = field.at("metadata");
    let metadata = metadata_field.required(config.metadata)?;
    let name_field = metadata_field.at("name");
    let linux_field = field.at("linux");
    let linux = config.linux.unwrap_or_default();
    let argument = |field: Field<'_>, text| field.c_string(text);
    Ok(ContainerSpec {
        name: name_field.one_line(name_field.nonempty(metadata.name)?)?,
        attempt: metadata.attempt,
        image: image_request(field.at("image"), field.at("image").required(config.image)?)?,
        command: field.at("command").each(config.command, argument)?,
        args: field.at("args").each(config.args, argument)?,
        working_dir: working_dir(field.at("working_dir"), config.working_dir)?,
        env: field.at("envs").each(config.envs, environment)?,
        mounts: field.at("mounts").each(config.mounts, mount)?,
        devices: field.at("devices").each(config.devices, device)?,
        cdi_devices: field.at("CDI_devices").each(config.cdi_devices, cdi_device)?,
        labels: config.labels,
        annotations: config.annotations,
        log_path: field.at("log_path").path_below(config.log_path)?,
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        terminal: config.tty,
        stop_signal: stop_signal(field.at("stop_signal"), config.stop_signal)?,
        resources: resources(linux_field.at("resources"), linux.resources.unwrap_or_default())?,
        security: security(linux_field.at("security_context"), linux.security_context.unwrap_or_default())?,
    })
}

/// The command of an exec.
pub fn command(command: Vec<String>) -> Result<Vec<String>, InvalidField> {
    let field = Field::root("cmd");
    if command.is_empty() {
        return Err(field.invalid(command, "there is nothing to execute"));
    }
    field.each(command, |field, text| field.c_string(text))
}

fn working_dir(field: Field<'_>, path: String) -> Result<String, InvalidField> {
    if path.is_empty() { Ok(path) } else { field.absolute_path(path) }
}

/// Values are bytes for the kernel; the CRI says text.
fn environment(field: Field<'_>, variable: v1::KeyValue) -> Result<(String, String), InvalidField> {
    let key_field = field.at("key");
    let key = key_field.c_string(key_field.nonempty(variable.key)?)?;
    if key.contains('=') {
        return Err(key_field.invalid(key, "the name of a variable has no '='"));
    }
    Ok((key, field.at("value").c_string(variable.value)?))
}

/// A qualified name, "vendor/class=device" (CDI specification, SPEC.md, Kinds).
fn cdi_device(field: Field<'_>, device: v1::CdiDevice) -> Result<String, InvalidField> {
    let parts = device.name.split_once('=').and_then(|(kind, name)| Some((kind.split_once('/')?, name)));
    match parts {
        Some(((vendor, class), name)) if ![vendor, class, name].contains(&"") => field.at("name").one_line(device.name),
        _ => Err(field.at("name").invalid(device.name, "it must be a qualified name, \"vendor/class=device\"")),
    }
}

fn security(field: Field<'_>, context: v1::LinuxContainerSecurityContext) -> Result<ContainerSecurity, InvalidField> {
    let run_as_user = optional_id(field.at("run_as_user"), context.run_as_user)?;
    let run_as_group = optional_id(field.at("run_as_group"), context.run_as_group)?;
    let run_as_username = field.at("run_as_username").one_line(context.run_as_username)?;
    if run_as_user.is_some() && !run_as_username.is_empty() {
        return Err(field
            .at("run_as_username")
            .invalid(run_as_username, "a user is named by run_as_user or by name, not both"));
    }
    if let (None, "", Some(group)) = (run_as_user, run_as_username.as_str(), run_as_group) {
        return Err(field.at("run_as_group").invalid(group, "a group needs a run_as_user or run_as_username"));
    }
    #[expect(deprecated, reason = "older clients still send them")]
    let (seccomp_text, apparmor_text) = (context.seccomp_profile_path, context.apparmor_profile);
    let path = |field: Field<'_>, path| field.absolute_path(path);
    Ok(ContainerSecurity {
        capabilities: capabilities(field.at("capabilities"), context.capabilities)?,
        privileged: context.privileged,
        pid: container_pid(field.at("namespace_options"), context.namespace_options)?,
        selinux: selinux(field.at("selinux_options"), context.selinux_options)?,
        run_as_user,
        run_as_username,
        run_as_group,
        supplemental_groups: ids(field.at("supplemental_groups"), context.supplemental_groups)?,
        groups_policy: groups_policy(field.at("supplemental_groups_policy"), context.supplemental_groups_policy)?,
        readonly_rootfs: context.readonly_rootfs,
        no_new_privs: context.no_new_privs,
        seccomp: profile(field, Mechanism::Seccomp, context.seccomp, seccomp_text)?,
        apparmor: profile(field, Mechanism::AppArmor, context.apparmor, apparmor_text)?,
        masked_paths: field.at("masked_paths").each(context.masked_paths, path)?,
        readonly_paths: field.at("readonly_paths").each(context.readonly_paths, path)?,
    })
}
