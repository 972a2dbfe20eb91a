//! Limits on control groups.

use cradle_cri_api::v1;
use cradle_engine::spec::{HugepageLimit, Resources};

use super::{Field, InvalidField};

/// Limits; zero and empty mean "not said".
pub fn resources(field: Field<'_>, limits: v1::LinuxContainerResources) -> Result<Resources, InvalidField> {
    let unified = field.at("unified").each_value(limits.unified, |field, file, value| {
        if !is_controller_file(file) {
            return Err(field.invalid(value, "its key must be a controller's file of cgroup v2, as \"memory.high\""));
        }
        field.c_string(value.to_owned()).map(drop)
    })?;
    Ok(Resources {
        cpu_period_us: at_least(field.at("cpu_period"), limits.cpu_period, 0)?,
        cpu_quota_us: at_least(field.at("cpu_quota"), limits.cpu_quota, -1)?,
        cpu_shares: at_least(field.at("cpu_shares"), limits.cpu_shares, 0)?,
        memory_limit_bytes: at_least(field.at("memory_limit_in_bytes"), limits.memory_limit_in_bytes, -1)?,
        memory_swap_limit_bytes: at_least(
            field.at("memory_swap_limit_in_bytes"),
            limits.memory_swap_limit_in_bytes,
            -1,
        )?,
        oom_score_adj: oom_score_adj(field.at("oom_score_adj"), limits.oom_score_adj)?,
        cpuset_cpus: number_set(field.at("cpuset_cpus"), limits.cpuset_cpus)?,
        cpuset_mems: number_set(field.at("cpuset_mems"), limits.cpuset_mems)?,
        hugepage_limits: field.at("hugepage_limits").each(limits.hugepage_limits, hugepage_limit)?,
        unified,
    })
}

fn at_least(field: Field<'_>, value: i64, least: i64) -> Result<i64, InvalidField> {
    if value >= least { Ok(value) } else { Err(field.invalid(value, format!("it must be at least {least}"))) }
}

/// proc_pid_oom_score_adj(5)
fn oom_score_adj(field: Field<'_>, value: i64) -> Result<i64, InvalidField> {
    if (-1000..=1000).contains(&value) {
        Ok(value)
    } else {
        Err(field.invalid(value, "it must be between -1000 and 1000"))
    }
}

/// A set of numbers as cpuset(7) writes it, "0-3,7".
fn number_set(field: Field<'_>, text: String) -> Result<String, InvalidField> {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let is_range = |part: &str| match part.split_once('-') {
        Some((first, last)) => is_number(first) && is_number(last),
        None => is_number(part),
    };
    if text.trim().is_empty() || text.trim().split(',').all(is_range) {
        Ok(text.trim().to_owned())
    } else {
        Err(field.invalid(text, "it must be a list of numbers and ranges, as \"0-3,7\""))
    }
}

fn hugepage_limit(field: Field<'_>, limit: v1::HugepageLimit) -> Result<HugepageLimit, InvalidField> {
    let digits = limit.page_size.trim_end_matches(['K', 'M', 'G', 'B']);
    let unit = &limit.page_size[digits.len()..];
    if digits.parse::<u32>().is_ok() && matches!(unit, "KB" | "MB" | "GB") {
        Ok(HugepageLimit { page_size: limit.page_size, limit_bytes: limit.limit })
    } else {
        Err(field
            .at("page_size")
            .invalid(limit.page_size, "it must be a size as the kernel spells it, \"2MB\" or \"1GB\""))
    }
}

/// A plain file name with a controller's name before the dot. Files of the group itself (`cgroup.procs`,
/// `cgroup.kill`, …) are the runtime's.
fn is_controller_file(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.split_once('.') {
        Some((controller, rest)) => {
            !controller.is_empty() && controller != "cgroup" && !rest.is_empty() && name.chars().all(letter)
        }
        None => false,
    }
}
