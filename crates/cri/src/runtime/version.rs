//! Version: who answers.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;

/// The version of the kubelet's side of the CRI, the same since it exists.
const KUBELET_API_VERSION: &str = "0.1.0";

pub async fn answer(edge: &Edge, _request: v1::VersionRequest) -> Result<v1::VersionResponse, Failure> {
    Ok(v1::VersionResponse {
        version: KUBELET_API_VERSION.to_owned(),
        runtime_name: "cradle".to_owned(),
        runtime_version: edge.facts.version.to_owned(),
        runtime_api_version: "v1".to_owned(),
    })
}
