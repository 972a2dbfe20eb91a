//! Limits on the container's control group, and which devices it may use.

use std::collections::HashMap;

use cradle_domain::{Class, Failure};
use oci_spec::runtime::{
    LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxHugepageLimit, LinuxMemory, LinuxResources,
};

use super::Inputs;
use crate::spec::Resources;

/// Numbers of the devices that every container may use: null, zero, full, random, urandom, tty, console, ptmx and all
/// terminals (OCI runtime-spec, config-linux.md, Default Devices).
const ALLOWED: [(Option<i64>, Option<i64>); 9] = [
    (Some(1), Some(3)),
    (Some(1), Some(5)),
    (Some(1), Some(7)),
    (Some(1), Some(8)),
    (Some(1), Some(9)),
    (Some(5), Some(0)),
    (Some(5), Some(1)),
    (Some(5), Some(2)),
    (Some(136), None),
];

/// The limits of a request; what it does not say is not written.
pub(crate) fn limits(asked: &Resources) -> Result<LinuxResources, Failure> {
    let unsigned = |name: &str, value: i64| {
        u64::try_from(value).map_err(|_| Failure::new(Class::Invalid, format!("{name} is negative: {value}")))
    };
    let said = |value: i64| (value != 0).then_some(value);
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(said(asked.cpu_shares).map(|shares| unsigned("cpu_shares", shares)).transpose()?)
        .set_period(said(asked.cpu_period_us).map(|period| unsigned("cpu_period", period)).transpose()?)
        .set_quota(said(asked.cpu_quota_us))
        .set_cpus(text(&asked.cpuset_cpus))
        .set_mems(text(&asked.cpuset_mems));
    let mut memory = LinuxMemory::default();
    memory.set_limit(said(asked.memory_limit_bytes)).set_swap(said(asked.memory_swap_limit_bytes));
    let hugepages = asked.hugepage_limits.iter().map(|limit| {
        let bytes = i64::try_from(limit.limit_bytes).unwrap_or(i64::MAX);
        let mut hugepages = LinuxHugepageLimit::default();
        hugepages.set_page_size(limit.page_size.clone()).set_limit(bytes);
        hugepages
    });
    let hugepages: Vec<_> = hugepages.collect();
    let unified: HashMap<_, _> = asked.unified.clone().into_iter().collect();
    let mut resources = LinuxResources::default();
    resources
        .set_devices(None)
        .set_cpu(Some(cpu))
        .set_memory(Some(memory))
        .set_hugepage_limits(Some(hugepages).filter(|limits| !limits.is_empty()))
        .set_unified(Some(unified).filter(|files| !files.is_empty()));
    Ok(resources)
}

/// The limits, with the rules for devices.
pub(super) fn with_devices(inputs: &Inputs<'_>) -> Result<LinuxResources, Failure> {
    let mut resources = limits(&inputs.container.resources)?;
    let all = |allow: bool| rule(allow, None, None, None, "rwm");
    let rules = if inputs.container.security.privileged {
        vec![all(true)]
    } else {
        let mut rules = vec![all(false)];
        // Any node may be made; whether it can be opened is decided below.
        rules.push(rule(true, Some(LinuxDeviceType::C), None, None, "m"));
        rules.push(rule(true, Some(LinuxDeviceType::B), None, None, "m"));
        let own = ALLOWED.iter().map(|(major, minor)| rule(true, Some(LinuxDeviceType::C), *major, *minor, "rwm"));
        rules.extend(own);
        for device in &inputs.devices {
            let access = permissions(inputs, &device.path().to_string_lossy());
            rules.push(rule(true, Some(device.typ()), Some(device.major()), Some(device.minor()), access));
        }
        rules
    };
    resources.set_devices(Some(rules));
    Ok(resources)
}

/// The permissions that the request gives for a device at this place.
fn permissions<'a>(inputs: &'a Inputs<'_>, path: &str) -> &'a str {
    let asked = inputs.container.devices.iter().find(|device| {
        let place = if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
        path == place || path.starts_with(&format!("{}/", place.trim_end_matches('/')))
    });
    asked.map(|device| device.permissions.as_str()).filter(|access| !access.is_empty()).unwrap_or("rwm")
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_typ(kind).set_major(major).set_minor(minor).set_access(Some(access.to_owned()));
    rule
}
