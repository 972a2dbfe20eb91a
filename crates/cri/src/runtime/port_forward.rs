//! PortForward: answers with the URL at which a client gets connections into a pod.

use cradle_cri_api::v1;
use cradle_domain::Failure;
use cradle_streaming::Request;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(edge: &Edge, request: v1::PortForwardRequest) -> Result<v1::PortForwardResponse, Failure> {
    let id = from_proto::id("pod_sandbox_id", request.pod_sandbox_id)?;
    let ports = from_proto::ports(request.port)?;
    let pod = edge.engine.ready_pod(&id)?.id.to_string();
    Ok(v1::PortForwardResponse { url: edge.streaming.url(Request::PortForward { pod, ports })? })
}
