//! OCI resources in the files of cgroup v1 (kernel: Documentation/admin-guide/cgroup-v1).
//!
//! The order within a controller is the one that suits a new group; where present values demand another one, `write`
//! finds it.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice,
};

use super::both::{check_swap, cpuset, page_size, pids, rdma, refuse_leaf_weight, skip_if, weight};
use super::plan::{IfMissing, PlanError, Writes};

const UNLIMITED: i64 = -1;

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
    if let Some(settings) = resources.network() {
        network(settings, writes)?;
    }
    rdma(resources, writes)?;
    match resources.unified().as_ref().and_then(|unified| unified.iter().min()) {
        Some((key, value)) => Err(PlanError::unsupported(
            &format!("unified.{key}"),
            value,
            "unified resources are files of cgroup v2, and this machine uses v1",
        )),
        None => Ok(()),
    }
}

fn cpu(cpu: &LinuxCpu, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    let idle = cpu.idle().unwrap_or(0);
    // The shares of an idle group are fixed, and the kernel refuses to change them.
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0 && idle != 1) {
        writes.add("cpu", "cpu.shares", shares)?;
    }
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        writes.add("cpu", "cpu.cfs_period_us", period)?;
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        writes.add("cpu", "cpu.cfs_quota_us", quota.max(UNLIMITED))?;
    }
    if let Some(burst) = cpu.burst() {
        writes.add_or("cpu", "cpu.cfs_burst_us", burst, skip_if(burst == 0))?;
    }
    if let Some(idle) = cpu.idle() {
        writes.add_or("cpu", "cpu.idle", idle, skip_if(idle == 0))?;
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        writes.add("cpu", "cpu.rt_period_us", period)?;
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        writes.add("cpu", "cpu.rt_runtime_us", runtime)?;
    }
    Ok(())
}

fn memory(memory: &LinuxMemory, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    check_swap(memory)?;
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = memory.swap().filter(|swap| *swap != 0);
    if let Some(limit) = limit {
        writes.add("memory", "memory.limit_in_bytes", limit)?;
    }
    // Memory and swap together can never be less than memory alone.
    if let Some(swap) = swap.or(limit.filter(|limit| *limit == UNLIMITED)) {
        // A kernel that does not account swap has no such file; "no swap" and "no limit" need none.
        let if_missing = skip_if(swap == UNLIMITED || Some(swap) == limit);
        writes.add_or("memory", "memory.memsw.limit_in_bytes", swap, if_missing)?;
    }
    if let Some(reservation) = memory.reservation().filter(|reservation| *reservation != 0) {
        writes.add("memory", "memory.soft_limit_in_bytes", reservation)?;
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|tcp| *tcp != 0) {
        writes.add("memory", "memory.kmem.tcp.limit_in_bytes", tcp)?;
    }
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            return Err(PlanError::invalid("memory.swappiness", swappiness, "it is between 0 and 100"));
        }
        writes.add("memory", "memory.swappiness", swappiness)?;
    }
    if memory.disable_oom_killer() == Some(true) {
        writes.add("memory", "memory.oom_control", 1)?;
    }
    Ok(())
}

fn block_io(block_io: &LinuxBlockIo, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    refuse_leaf_weight(block_io)?;
    let instead = |file: &'static str, value: &str| IfMissing::Instead { file: file.into(), value: value.to_owned() };
    if let Some(weight) = weight(block_io.weight())? {
        let weight = weight.to_string();
        writes.add_or("blkio", "blkio.bfq.weight", &weight, instead("blkio.weight", &weight))?;
    }
    for device in block_io.weight_device().iter().flatten() {
        if let Some(weight) = weight(device.weight())? {
            let line = format!("{}:{} {weight}", device.major(), device.minor());
            writes.add_or("blkio", "blkio.bfq.weight_device", &line, instead("blkio.weight_device", &line))?;
        }
    }
    let lists: [(&'static str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("blkio.throttle.read_bps_device", block_io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", block_io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", block_io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", block_io.throttle_write_iops_device()),
    ];
    for (file, devices) in lists {
        for device in devices.iter().flatten() {
            writes.add("blkio", file, format!("{}:{} {}", device.major(), device.minor(), device.rate()))?;
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
    writes.add_or("hugetlb", format!("hugetlb.{size}.limit_in_bytes"), bytes, skip_if(bytes == 0))?;
    // Reservations are limited apart since Linux 5.7.
    writes.add_or("hugetlb", format!("hugetlb.{size}.rsvd.limit_in_bytes"), bytes, IfMissing::Skip)
}

fn network(network: &LinuxNetwork, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        writes.add("net_cls", "net_cls.classid", class)?;
    }
    for interface in network.priorities().iter().flatten() {
        let line = format!("{} {}", interface.name(), interface.priority());
        writes.add("net_prio", "net_prio.ifpriomap", line)?;
    }
    Ok(())
}
