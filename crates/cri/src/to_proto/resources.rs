//! Limits on control groups, as they are now.

use cradle_cri_api::v1;
use cradle_engine::spec::Resources;

pub fn resources(limits: &Resources) -> v1::LinuxContainerResources {
    let hugepage = |limit: &cradle_engine::spec::HugepageLimit| v1::HugepageLimit {
        page_size: limit.page_size.clone(),
        limit: limit.limit_bytes,
    };
    v1::LinuxContainerResources {
        cpu_period: limits.cpu_period_us,
        cpu_quota: limits.cpu_quota_us,
        cpu_shares: limits.cpu_shares,
        memory_limit_in_bytes: limits.memory_limit_bytes,
        oom_score_adj: limits.oom_score_adj,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        hugepage_limits: limits.hugepage_limits.iter().map(hugepage).collect(),
        unified: limits.unified.clone(),
        memory_swap_limit_in_bytes: limits.memory_swap_limit_bytes,
    }
}
