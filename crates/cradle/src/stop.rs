//! `cradle stop`.

use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::arguments::Stop;
use crate::client::Client;
use crate::error::Error;
use crate::output;

pub async fn stop(client: &mut Client, stop: &Stop) -> Result<ExitCode, Error> {
    for name in &stop.containers {
        let container_id = client.container(name).await?.id;
        let request = v1::StopContainerRequest { container_id, timeout: stop.time.into() };
        client.runtime.stop_container(request).await?;
        output::line(name)?;
    }
    Ok(ExitCode::SUCCESS)
}
