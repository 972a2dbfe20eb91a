//! `cradle exec`: a command without a terminal; its output comes when it has ended.

use std::io::Write;
use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::arguments::Exec;
use crate::client::{Client, Error};

pub async fn exec(client: &mut Client, exec: &Exec) -> Result<ExitCode, Error> {
    let container = client.container(&exec.container).await?;
    let request =
        v1::ExecSyncRequest { container_id: container.id, cmd: exec.command.clone(), timeout: exec.timeout.max(0) };
    let output = client.runtime.exec_sync(request).await?.into_inner();
    let written = std::io::stdout().write_all(&output.stdout).and_then(|()| std::io::stderr().write_all(&output.stderr));
    written.map_err(|error| Error::Local(format!("writing its output: {error}")))?;
    Ok(ExitCode::from(u8::try_from(output.exit_code).unwrap_or(u8::MAX)))
}
