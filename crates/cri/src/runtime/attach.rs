//! Attach: answers with the URL at which a client gets the streams of a container's first process.

use cradle_cri_api::v1;
use cradle_domain::Failure;
use cradle_streaming::Request;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(edge: &Edge, request: v1::AttachRequest) -> Result<v1::AttachResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let wanted = from_proto::wanted(request.stdin, request.stdout, request.stderr, request.tty)?;
    let container = edge.engine.running_container(&id)?.id.to_string();
    Ok(v1::AttachResponse { url: edge.streaming.url(Request::Attach { container, wanted })? })
}
