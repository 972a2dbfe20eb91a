//! Status: is the runtime ready, is its network, and what can it do?

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::to_proto;

pub async fn answer(edge: &Edge, request: v1::StatusRequest) -> Result<v1::StatusResponse, Failure> {
    let status = edge.engine.status();
    Ok(v1::StatusResponse {
        status: Some(to_proto::runtime_status(&status)),
        info: match request.verbose {
            true => to_proto::status_info(&status, &edge.images.status(), &edge.facts),
            false => Default::default(),
        },
        runtime_handlers: to_proto::runtime_handlers(&edge.facts),
        features: Some(to_proto::runtime_features(&edge.facts)),
    })
}
