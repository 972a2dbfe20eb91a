//! UpdateRuntimeConfig: the kubelet tells the node's pod subnet, whenever it learns it.

use cradle_cri_api::v1;
use cradle_domain::Failure;
use tracing::info;

use crate::edge::Edge;

/// Accepted, as the CRI demands, and only told: pods get addresses from the subnets of the daemon's configuration.
pub async fn answer(
    _edge: &Edge,
    request: v1::UpdateRuntimeConfigRequest,
) -> Result<v1::UpdateRuntimeConfigResponse, Failure> {
    let network = request.runtime_config.and_then(|config| config.network_config).unwrap_or_default();
    if !network.pod_cidr.is_empty() {
        info!(pod_cidr = network.pod_cidr, "the kubelet names a pod subnet; pods use those of network.subnets");
    }
    Ok(v1::UpdateRuntimeConfigResponse {})
}
