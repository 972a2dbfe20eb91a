//! Exec: answers with the URL at which a client gets a command's streams.

use cradle_cri_api::v1;
use cradle_domain::Failure;
use cradle_streaming::Request;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(edge: &Edge, request: v1::ExecRequest) -> Result<v1::ExecResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let command = from_proto::command(request.cmd)?;
    let wanted = from_proto::wanted(request.stdin, request.stdout, request.stderr, request.tty)?;
    let container = edge.engine.running_container(&id)?.id.to_string();
    Ok(v1::ExecResponse { url: edge.streaming.url(Request::Exec { container, command, wanted })? })
}
