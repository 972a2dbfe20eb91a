//! RuntimeConfig: what the kubelet has to adapt to. It asks once, when it starts.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;

pub async fn answer(_edge: &Edge, _request: v1::RuntimeConfigRequest) -> Result<v1::RuntimeConfigResponse, Failure> {
    let linux = v1::LinuxRuntimeConfiguration { cgroup_driver: v1::CgroupDriver::Cgroupfs.into() };
    Ok(v1::RuntimeConfigResponse { linux: Some(linux) })
}
