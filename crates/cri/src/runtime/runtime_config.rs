//! RuntimeConfig: what the kubelet has to adapt to. It asks once, when it starts.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;

/// The driver is the kubelet's own: either form of a parent is understood.
pub async fn answer(edge: &Edge, _request: v1::RuntimeConfigRequest) -> Result<v1::RuntimeConfigResponse, Failure> {
    let driver = if edge.facts.systemd_cgroups { v1::CgroupDriver::Systemd } else { v1::CgroupDriver::Cgroupfs };
    let linux = v1::LinuxRuntimeConfiguration { cgroup_driver: driver.into() };
    Ok(v1::RuntimeConfigResponse { linux: Some(linux) })
}
