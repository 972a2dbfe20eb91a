//! `cradle attach`: this program's streams in the place of a container's, until it ends or the user leaves.

use std::process::ExitCode;

use cradle_cri_api::v1;
use serde_json::Value;

use crate::arguments::Attach;
use crate::client::Client;
use crate::error::Error;
use crate::exec::exit_code;
use crate::output;
use crate::streams::{self, Connected, Ended};

pub async fn attach(client: &mut Client, attach: &Attach) -> Result<ExitCode, Error> {
    let container_id = client.container(&attach.container).await?.id;
    let (open, tty) = stdin_and_terminal(client, &container_id).await?;
    let stdin = open && !attach.no_stdin;
    let request = v1::AttachRequest { container_id: container_id.clone(), stdin, tty, stdout: true, stderr: !tty };
    let url = client.runtime.attach(request).await?.into_inner().url;
    let connected = Connected { stdin, terminal: tty, detach_keys: attach.detach_keys.clone() };
    match streams::connect(&url, &connected).await? {
        Ended::With(_) => Ok(exit_code(client.status(&container_id).await?.exit_code)),
        Ended::Left => {
            output::note(format_args!("\r\n{} goes on", attach.container));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Whether the container reads a stdin, and has a terminal.
async fn stdin_and_terminal(client: &mut Client, container: &str) -> Result<(bool, bool), Error> {
    let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose: true };
    let info = client.runtime.container_status(request).await?.into_inner().info;
    // A runtime that does not say has containers without either, as far as this program can know.
    let info: Value = info.get("info").and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default();
    let flag = |name: &str| info["config"][name].as_bool().unwrap_or(false);
    Ok((flag("stdin"), flag("terminal")))
}
