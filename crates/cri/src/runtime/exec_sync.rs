//! ExecSync: runs a command in a container and answers with its output and exit code.

use cradle_cri_api::v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto;

pub async fn answer(edge: &Edge, request: v1::ExecSyncRequest) -> Result<v1::ExecSyncResponse, Failure> {
    let id = from_proto::id("container_id", request.container_id)?;
    let command = from_proto::command(request.cmd)?;
    let limit = from_proto::execution_limit(request.timeout)?;
    let engine = edge.engine.clone();
    let output = edge.act(async move { engine.exec_sync(&id, command, limit).await }).await?;
    Ok(v1::ExecSyncResponse { stdout: output.stdout, stderr: output.stderr, exit_code: output.exit_code })
}
