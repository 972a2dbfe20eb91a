//! Pods.

use std::collections::BTreeMap;

use cradle_cri_api::v1;
use cradle_engine::spec::{Dns, PodSpec, PortMapping, Protocol, Resources};

use super::image::handler;
use super::namespace::pod_namespaces;
use super::security::{Mechanism, groups_policy, ids, optional_id, profile, selinux};
use super::{Field, InvalidField, resources};
use crate::limits::HOSTNAME_MAX_BYTES;

/// The pod that a request asks for.
pub fn pod(request: v1::RunPodSandboxRequest) -> Result<PodSpec, InvalidField> {
    handler(Field::root("runtime_handler"), &request.runtime_handler)?;
    let field = Field::root("config");
    let config = field.required(request.config)?;
    if config.windows.is_some() {
        return Err(field.at("windows").invalid("set", "this is a Linux node"));
    }
    let metadata = field.at("metadata");
    let v1::PodSandboxMetadata { name, uid, namespace, attempt } = metadata.required(config.metadata)?;
    let linux_field = field.at("linux");
    let linux = config.linux.unwrap_or_default();
    let context_field = linux_field.at("security_context");
    let context = linux.security_context.unwrap_or_default();
    let run_as_user = optional_id(context_field.at("run_as_user"), context.run_as_user)?;
    let run_as_group = optional_id(context_field.at("run_as_group"), context.run_as_group)?;
    if let (None, Some(group)) = (run_as_user, run_as_group) {
        return Err(context_field.at("run_as_group").invalid(group, "a group needs a run_as_user"));
    }
    #[expect(deprecated, reason = "older clients still send it")]
    let seccomp_text = context.seccomp_profile_path;
    Ok(PodSpec {
        name: metadata.at("name").one_line(metadata.at("name").nonempty(name)?)?,
        namespace: metadata.at("namespace").one_line(namespace)?,
        uid: metadata.at("uid").one_line(uid)?,
        attempt,
        hostname: hostname(field.at("hostname"), config.hostname)?,
        log_directory: log_directory(field.at("log_directory"), config.log_directory)?,
        dns: dns(field.at("dns_config"), config.dns_config)?,
        port_mappings: field.at("port_mappings").each(config.port_mappings, port_mapping)?,
        labels: config.labels,
        annotations: config.annotations,
        handler: request.runtime_handler,
        cgroup_parent: cgroup_parent(linux_field.at("cgroup_parent"), linux.cgroup_parent)?,
        sysctls: sysctls(linux_field.at("sysctls"), linux.sysctls)?,
        namespaces: pod_namespaces(context_field.at("namespace_options"), context.namespace_options)?,
        privileged: context.privileged,
        readonly_rootfs: context.readonly_rootfs,
        run_as_user,
        run_as_group,
        supplemental_groups: ids(context_field.at("supplemental_groups"), context.supplemental_groups)?,
        groups_policy: groups_policy(
            context_field.at("supplemental_groups_policy"),
            context.supplemental_groups_policy,
        )?,
        selinux: selinux(context_field.at("selinux_options"), context.selinux_options)?,
        seccomp: profile(context_field, Mechanism::Seccomp, context.seccomp, seccomp_text)?,
        apparmor: profile(context_field, Mechanism::AppArmor, context.apparmor, String::new())?,
        resources: optional_resources(linux_field.at("resources"), linux.resources)?,
        overhead: optional_resources(linux_field.at("overhead"), linux.overhead)?,
    })
}

fn optional_resources(
    field: Field<'_>,
    limits: Option<v1::LinuxContainerResources>,
) -> Result<Option<Resources>, InvalidField> {
    limits.map(|limits| resources(field, limits)).transpose()
}

/// The kernel takes almost anything; what would break /etc/hosts and prompts is refused.
fn hostname(field: Field<'_>, name: String) -> Result<String, InvalidField> {
    if name.len() > HOSTNAME_MAX_BYTES {
        return Err(field.invalid(name, format!("a host name has at most {HOSTNAME_MAX_BYTES} bytes")));
    }
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        Ok(name)
    } else {
        Err(field.invalid(name, "a host name has letters, digits, '-', '_' and '.'"))
    }
}

fn log_directory(field: Field<'_>, path: String) -> Result<String, InvalidField> {
    if path.is_empty() { Ok(path) } else { field.absolute_path(path) }
}

fn dns(field: Field<'_>, dns: Option<v1::DnsConfig>) -> Result<Dns, InvalidField> {
    let dns = dns.unwrap_or_default();
    let word = |field: Field<'_>, text| field.one_word(text);
    Ok(Dns {
        servers: field.at("servers").each(dns.servers, word)?,
        searches: field.at("searches").each(dns.searches, word)?,
        options: field.at("options").each(dns.options, word)?,
    })
}

fn port_mapping(field: Field<'_>, mapping: v1::PortMapping) -> Result<PortMapping, InvalidField> {
    let protocol = match field.at("protocol").enumeration(mapping.protocol)? {
        v1::Protocol::Tcp => Protocol::Tcp,
        v1::Protocol::Udp => Protocol::Udp,
        v1::Protocol::Sctp => Protocol::Sctp,
    };
    let host_port = port(field.at("host_port"), mapping.host_port)?;
    let container_port = port(field.at("container_port"), mapping.container_port)?;
    if host_port != 0 && container_port == 0 {
        return Err(field.at("container_port").invalid(0, "a host port must lead to a port of the pod"));
    }
    let host_ip = match mapping.host_ip.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| field.at("host_ip").invalid(text, "it is no IP address"))?),
    };
    Ok(PortMapping { protocol, container_port, host_port, host_ip })
}

fn port(field: Field<'_>, number: i32) -> Result<u16, InvalidField> {
    u16::try_from(number).map_err(|_| field.invalid(number, "a port is between 0 and 65535"))
}

/// A path within the control group hierarchies, or a slice of systemd.
fn cgroup_parent(field: Field<'_>, parent: String) -> Result<String, InvalidField> {
    if parent.split('/').any(|part| part == "..") {
        return Err(field.invalid(parent, "it must not have \"..\""));
    }
    field.one_line(parent)
}

fn sysctls(field: Field<'_>, sysctls: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, InvalidField> {
    field.each_value(sysctls, |field, name, value| {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_' | '-');
        let component = |part: &str| !part.is_empty() && part.chars().all(letter);
        if !name.split(['.', '/']).all(component) {
            return Err(field.invalid(value, "its key is no name of a sysctl"));
        }
        field.one_line(value.to_owned()).map(drop)
    })
}
