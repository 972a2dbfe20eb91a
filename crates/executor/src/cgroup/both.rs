//! What cgroup v1 and v2 have in common: resources with the same file in both, and checks of values.
//!
//! 0 means "not set", a negative limit "no limit".

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::plan::{IfMissing, PlanError, Writes};

/// The range of weights for block devices in the specification and in the BFQ scheduler.
const WEIGHT_RANGE: std::ops::RangeInclusive<u16> = 10..=1000;

pub(super) fn skip_if(needless: bool) -> IfMissing {
    if needless { IfMissing::Skip } else { IfMissing::Fail }
}

pub(super) fn max_or(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

/// The processors and memory nodes of a group: the same files on v1 and v2.
pub(super) fn cpuset(cpu: &LinuxCpu, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    for (file, list) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            writes.add("cpuset", file, list)?;
        }
    }
    Ok(())
}

/// The number of tasks: the same file on v1 and v2.
pub(super) fn pids(limit: i64, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    if limit == 0 { Ok(()) } else { writes.add("pids", "pids.max", max_or(limit)) }
}

/// Handles and objects of RDMA devices: the same file on v1 and v2.
pub(super) fn rdma(resources: &LinuxResources, writes: &mut Writes<'_>) -> Result<(), PlanError> {
    let sorted: BTreeMap<_, _> = resources.rdma().iter().flatten().collect();
    for (device, limit) in sorted {
        let part = |key: &str, value: Option<u32>| value.map_or_else(String::new, |value| format!(" {key}={value}"));
        let zero = limit.hca_handles().unwrap_or(0) == 0 && limit.hca_objects().unwrap_or(0) == 0;
        let line = part("hca_handle", limit.hca_handles()) + &part("hca_object", limit.hca_objects());
        if line.is_empty() || zero && !writes.has("rdma") {
            continue;
        }
        writes.add("rdma", "rdma.max", format!("{device}{line}"))?;
    }
    Ok(())
}

/// Swap is memory and swap together in the specification; it needs a memory limit that is not above it.
pub(super) fn check_swap(memory: &LinuxMemory) -> Result<(), PlanError> {
    let (limit, swap) = (memory.limit().unwrap_or(0), memory.swap().unwrap_or(0));
    if limit < -1 {
        return Err(PlanError::invalid("memory.limit", limit, "it is a number of bytes, or -1 for no limit"));
    }
    if swap < -1 {
        return Err(PlanError::invalid("memory.swap", swap, "it is a number of bytes, or -1 for no limit"));
    }
    if swap > 0 && limit <= 0 {
        return Err(PlanError::invalid("memory.swap", swap, "a limit of memory and swap needs a limit of memory"));
    }
    if swap > 0 && swap < limit {
        return Err(PlanError::invalid(
            "memory.swap",
            swap,
            "memory and swap together cannot be less than the memory limit",
        ));
    }
    Ok(())
}

pub(super) fn weight(weight: Option<u16>) -> Result<Option<u16>, PlanError> {
    match weight {
        None | Some(0) => Ok(None),
        Some(weight) if WEIGHT_RANGE.contains(&weight) => Ok(Some(weight)),
        Some(weight) => Err(PlanError::invalid("blockIO.weight", weight, "it is between 10 and 1000")),
    }
}

/// The CFQ scheduler, the only one that knew leaf weights, left the kernel with 5.0.
pub(super) fn refuse_leaf_weight(block_io: &LinuxBlockIo) -> Result<(), PlanError> {
    let of_devices = block_io.weight_device().iter().flatten().filter_map(|device| device.leaf_weight());
    match block_io.leaf_weight().into_iter().chain(of_devices).find(|weight| *weight != 0) {
        Some(weight) => Err(PlanError::unsupported("blockIO.leafWeight", weight, "no kernel since Linux 5.0 has it")),
        None => Ok(()),
    }
}

/// The size in the file's name, `2MB`: digits and a unit, as it becomes part of a path.
pub(super) fn page_size(limit: &LinuxHugepageLimit) -> Result<&str, PlanError> {
    let size = limit.page_size();
    let digits = size.strip_suffix("KB").or(size.strip_suffix("MB")).or(size.strip_suffix("GB")).unwrap_or("");
    if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        Ok(size)
    } else {
        Err(PlanError::invalid("hugepageLimits.pageSize", size, "it is a number and KB, MB or GB"))
    }
}
