//! `cradle version`.

use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::client::Client;
use crate::error::Error;
use crate::output;

pub async fn version(client: &mut Client) -> Result<ExitCode, Error> {
    output::line(format_args!("cradle   {}", env!("CARGO_PKG_VERSION")))?;
    let daemon = client.runtime.version(v1::VersionRequest::default()).await?.into_inner();
    output::line(format_args!(
        "{:<8} {} (CRI {})",
        daemon.runtime_name, daemon.runtime_version, daemon.runtime_api_version
    ))?;
    Ok(ExitCode::SUCCESS)
}
