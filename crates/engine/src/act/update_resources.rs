//! UpdateContainerResources: all limits are applied, or none, and then recorded.

use std::sync::Arc;

use cradle_domain::lifecycle::container::{ContainerRequest, ContainerState};
use cradle_domain::{Class, Failure};
use cradle_executor::cgroup::{self, Cgroup};

use crate::container::Container;
use crate::engine::{Core, detached};
use crate::oci;
use crate::spec::Resources;

pub(crate) async fn update_resources(
    core: &Arc<Core>,
    container: Arc<Container>,
    asked: Resources,
) -> Result<(), Failure> {
    let core = core.clone();
    detached(async move {
        let _alone = container.lane.lock().await;
        container.admit(ContainerRequest::UpdateResources)?;
        let merged = merge(container.resources(), asked.clone());
        if container.state() == ContainerState::Running {
            let limits = oci::limits(&asked)?;
            let plan = cgroup::plan(&container.cgroup, Some(&limits), &core.settings.facts.layout)?;
            let (path, layout) = (container.cgroup.clone(), core.settings.facts.layout.clone());
            let updating =
                tokio::task::spawn_blocking(move || Ok::<_, Failure>(Cgroup::open(&path, &layout)?.update(&plan)?));
            let updated = updating.await;
            updated.unwrap_or_else(|error| Err(Failure::new(Class::Bug, format!("updating limits: {error}"))))?;
        }
        container.set_resources(merged);
        core.ports.records.save_container(&container.record()).await
    })
    .await
}

/// What is said replaces what was; what is not said stays.
fn merge(present: Resources, asked: Resources) -> Resources {
    let number = |asked: i64, present: i64| if asked == 0 { present } else { asked };
    let text = |asked: String, present: String| if asked.is_empty() { present } else { asked };
    Resources {
        cpu_period_us: number(asked.cpu_period_us, present.cpu_period_us),
        cpu_quota_us: number(asked.cpu_quota_us, present.cpu_quota_us),
        cpu_shares: number(asked.cpu_shares, present.cpu_shares),
        memory_limit_bytes: number(asked.memory_limit_bytes, present.memory_limit_bytes),
        memory_swap_limit_bytes: number(asked.memory_swap_limit_bytes, present.memory_swap_limit_bytes),
        oom_score_adj: number(asked.oom_score_adj, present.oom_score_adj),
        cpuset_cpus: text(asked.cpuset_cpus, present.cpuset_cpus),
        cpuset_mems: text(asked.cpuset_mems, present.cpuset_mems),
        hugepage_limits: if asked.hugepage_limits.is_empty() { present.hugepage_limits } else { asked.hugepage_limits },
        unified: present.unified.into_iter().chain(asked.unified).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let present =
            Resources { cpu_shares: 2, memory_limit_bytes: 64, cpuset_cpus: "0".into(), ..Resources::default() };
        let asked = Resources { memory_limit_bytes: 128, ..Resources::default() };
        let merged = merge(present.clone(), asked);
        assert_eq!(merged, Resources { memory_limit_bytes: 128, ..present });
    }
}
