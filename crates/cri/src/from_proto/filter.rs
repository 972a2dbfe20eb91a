//! Filters of lists: all parts that are set must match; no filter matches everything.

use std::collections::BTreeMap;

use cradle_cri_api::v1;
use cradle_engine::view::{ContainerView, PodView};

use super::{Field, InvalidField};
use crate::to_proto;

const FILTER: Field<'_> = Field::root("filter");

/// Which pods are asked for.
#[derive(Debug, Default)]
pub struct PodFilter {
    id: String,
    state: Option<v1::PodSandboxState>,
    labels: BTreeMap<String, String>,
}

impl PodFilter {
    pub fn read(filter: Option<v1::PodSandboxFilter>) -> Result<Self, InvalidField> {
        let Some(filter) = filter else { return Ok(Self::default()) };
        let state = filter.state.map(|value| FILTER.at("state").enumeration(value.state)).transpose()?;
        Ok(PodFilter { id: filter.id, state, labels: filter.label_selector })
    }

    /// The pods whose figures are asked for: those that are ready have some.
    pub fn of_stats(filter: Option<v1::PodSandboxStatsFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        PodFilter { id: filter.id, state: Some(v1::PodSandboxState::SandboxReady), labels: filter.label_selector }
    }

    pub fn matches(&self, pod: &PodView) -> bool {
        pod.id.as_str().starts_with(&self.id)
            && self.state.is_none_or(|state| to_proto::pod_state(pod.state) == state)
            && has_labels(&pod.spec.labels, &self.labels)
    }
}

/// Which containers are asked for.
#[derive(Debug, Default)]
pub struct ContainerFilter {
    id: String,
    pod: String,
    state: Option<v1::ContainerState>,
    labels: BTreeMap<String, String>,
}

impl ContainerFilter {
    pub fn read(filter: Option<v1::ContainerFilter>) -> Result<Self, InvalidField> {
        let Some(filter) = filter else { return Ok(Self::default()) };
        let state = filter.state.map(|value| FILTER.at("state").enumeration(value.state)).transpose()?;
        Ok(ContainerFilter { id: filter.id, pod: filter.pod_sandbox_id, state, labels: filter.label_selector })
    }

    /// The containers whose figures are asked for: those that run have some.
    pub fn of_stats(filter: Option<v1::ContainerStatsFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        ContainerFilter {
            id: filter.id,
            pod: filter.pod_sandbox_id,
            state: Some(v1::ContainerState::ContainerRunning),
            labels: filter.label_selector,
        }
    }

    pub fn matches(&self, container: &ContainerView) -> bool {
        container.id.as_str().starts_with(&self.id)
            && container.pod.as_str().starts_with(&self.pod)
            && self.state.is_none_or(|state| to_proto::container_state(container.state) == state)
            && has_labels(&container.spec.labels, &self.labels)
    }
}

/// Does `labels` have every label of `wanted`, with the same value?
fn has_labels(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
