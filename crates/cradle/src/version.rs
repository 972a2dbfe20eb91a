//! `cradle version`.

use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::client::{Client, Error};

pub async fn version(client: &mut Client) -> Result<ExitCode, Error> {
    let daemon = client.runtime.version(v1::VersionRequest::default()).await?.into_inner();
    println!("cradle   {}", env!("CARGO_PKG_VERSION"));
    println!("{:<8} {} (CRI {})", daemon.runtime_name, daemon.runtime_version, daemon.runtime_api_version);
    Ok(ExitCode::SUCCESS)
}
