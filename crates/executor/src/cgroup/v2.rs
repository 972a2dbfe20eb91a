//! OCI resources in the files of cgroup v2 (kernel: Documentation/admin-guide/cgroup-v2.rst).
//!
//! The specification speaks v1: values are converted here.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::both::{check_swap, cpuset, max_or, page_size, pids, rdma, refuse_leaf_weight, skip_if, weight};
use super::plan::{IfMissing, PlanError, Writes};

pub(super) fn plan(resources: &LinuxResources, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    if let Some(limits) = resources.cpu() {
        cpu(limits, writes)?;
        cpuset(limits, writes)?;
    }
    if let Some(limits) = resources.memory() {
        memory(limits, writes)?;
    }
    if let Some(limits) = resources.pids() {
        pids(limits.limit(), writes)?;
    }
    if let Some(limits) = resources.block_io() {
        block_io(limits, writes)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        hugepages(limit, writes)?;
    }
    if let Some(network) = resources.network() {
        let class = network.class_id().unwrap_or(0);
        if class != 0 || network.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(PlanError::unsupported("network.classID", class, "cgroup v2 has no network controllers"));
        }
    }
    rdma(resources, writes)?;
    unified(resources, writes)
}

fn cpu(cpu: &LinuxCpu, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    let realtime = cpu.realtime_runtime().unwrap_or(0);
    if realtime != 0 || cpu.realtime_period().unwrap_or(0) != 0 {
        return Err(PlanError::unsupported(
            "cpu.realtimeRuntime",
            realtime,
            "cgroup v2 has no limits for realtime tasks",
        ));
    }
    let idle = cpu.idle().unwrap_or(0);
    // The weight of an idle group is fixed, and the kernel refuses to change it.
    if let Some(weight) = cpu.shares().and_then(cpu_weight).filter(|_| idle != 1) {
        writes.add("cpu", "cpu.weight", weight)?;
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    match (quota, period) {
        (None, None) => {}
        // Left out, the period stays what it is: 100 ms in a new group.
        (Some(quota), None) => writes.add("cpu", "cpu.max", max_or(quota))?,
        (quota, Some(period)) => writes.add("cpu", "cpu.max", format!("{} {period}", max_or(quota.unwrap_or(-1))))?,
    }
    if let Some(burst) = cpu.burst() {
        writes.add_or("cpu", "cpu.max.burst", burst, skip_if(burst == 0))?;
    }
    if let Some(idle) = cpu.idle() {
        writes.add_or("cpu", "cpu.idle", idle, skip_if(idle == 0))?;
    }
    Ok(())
}

/// `cpu.weight` (1 to 10000, usually 100) for `cpu.shares` (2 to 262144, usually 1024): the exponent is the quadratic
/// function of log2(shares) through the two ends and the two defaults, as runc 1.4 and crun 1.24 have it.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10000")]
fn cpu_weight(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1..=2 => Some(1),
        262_144.. => Some(10_000),
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            Some(10_f64.powf(exponent).ceil() as u64)
        }
    }
}

fn memory(memory: &LinuxMemory, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    check_swap(memory)?;
    if let Some(swappiness) = memory.swappiness() {
        return Err(PlanError::unsupported("memory.swappiness", swappiness, "cgroup v2 has no swappiness of a group"));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(PlanError::unsupported(
            "memory.disableOOMKiller",
            true,
            "cgroup v2 cannot switch the OOM killer off",
        ));
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|tcp| *tcp != 0) {
        return Err(PlanError::unsupported("memory.kernelTCP", tcp, "cgroup v2 counts TCP buffers as memory"));
    }
    let limit = memory.limit().filter(|limit| *limit != 0);
    if let Some(limit) = limit {
        writes.add("memory", "memory.max", max_or(limit))?;
    }
    let swap = match (memory.swap().unwrap_or(0), limit) {
        (0, Some(-1)) | (-1, _) => Some(-1),
        (0, _) => None,
        (swap, limit) => Some(swap - limit.unwrap_or(0)),
    };
    if let Some(swap) = swap {
        // A kernel that does not account swap has no such file; "no swap" and "no limit" need none.
        writes.add_or("memory", "memory.swap.max", max_or(swap), skip_if(swap <= 0))?;
    }
    if let Some(reservation) = memory.reservation().filter(|reservation| *reservation != 0) {
        writes.add("memory", "memory.low", max_or(reservation))?;
    }
    Ok(())
}

/// `io.weight` goes from 1 to 10000 where the specification has 10 to 1000.
fn io_weight(weight: u16) -> u32 {
    1 + (u32::from(weight) - 10) * 9999 / 990
}

fn block_io(block_io: &LinuxBlockIo, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    refuse_leaf_weight(block_io)?;
    // With the BFQ scheduler the weight has a file of its own and the specification's range.
    let mut add_weight = |prefix: &str, weight: u16| {
        let instead = format!("{prefix}{}", io_weight(weight));
        let if_missing = IfMissing::Instead { file: "io.weight".into(), value: instead };
        writes.add_or("io", "io.bfq.weight", format!("{prefix}{weight}"), if_missing)
    };
    if let Some(weight) = weight(block_io.weight())? {
        add_weight("", weight)?;
    }
    for device in block_io.weight_device().iter().flatten() {
        if let Some(weight) = weight(device.weight())? {
            add_weight(&format!("{}:{} ", device.major(), device.minor()), weight)?;
        }
    }
    let lists: [(&str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("rbps", block_io.throttle_read_bps_device()),
        ("wbps", block_io.throttle_write_bps_device()),
        ("riops", block_io.throttle_read_iops_device()),
        ("wiops", block_io.throttle_write_iops_device()),
    ];
    for (key, devices) in lists {
        for device in devices.iter().flatten() {
            // On v1 a rate of 0 takes the limit away.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            writes.add("io", "io.max", format!("{}:{} {key}={rate}", device.major(), device.minor()))?;
        }
    }
    Ok(())
}

fn hugepages(limit: &LinuxHugepageLimit, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    let size = page_size(limit)?;
    let bytes = limit.limit();
    if bytes == 0 && !writes.has("hugetlb") {
        return Ok(());
    }
    writes.add_or("hugetlb", format!("hugetlb.{size}.max"), max_or(bytes), skip_if(bytes == 0))?;
    writes.add_or("hugetlb", format!("hugetlb.{size}.rsvd.max"), max_or(bytes), IfMissing::Skip)
}

/// Files of cgroup v2 by name, written as they are, after everything else.
fn unified(resources: &LinuxResources, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    let sorted: BTreeMap<_, _> = resources.unified().iter().flatten().collect();
    for (key, value) in sorted {
        let setting = format!("unified.{key}");
        let controller = match key.split_once('.') {
            Some((controller, name)) if !controller.is_empty() && !name.is_empty() && !key.contains(['/', '\0']) => {
                controller
            }
            _ => return Err(PlanError::invalid(&setting, value, "a key is the name of a file, controller.name")),
        };
        if controller == "cgroup" {
            let why = "cgroup.* files move, freeze and kill processes, which is not for resources";
            return Err(PlanError::invalid(&setting, value, why));
        }
        writes.add(controller.to_owned(), key.clone(), value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_the_curve_through_minimum_default_and_maximum() {
        for (shares, weight) in [
            (0, None),
            (1, Some(1)),
            (2, Some(1)),
            (102, Some(17)),
            (1024, Some(100)),
            (262_144, Some(10_000)),
            (u64::MAX, Some(10_000)),
        ] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        let all: Vec<_> = (2..262_144).step_by(97).map(|shares| cpu_weight(shares).unwrap()).collect();
        assert!(all.is_sorted());
    }

    #[test]
    fn io_weights_span_the_whole_range() {
        assert_eq!([10, 100, 500, 1000].map(io_weight), [1, 910, 4950, 10_000]);
    }
}
