//! `cradle explain` and `cradle registry explain`: the daemon's words, as they are.

use std::process::ExitCode;

use cradle_cri_api::cradle_v1::{ExplainContainerRequest, ExplainReferenceRequest};

use crate::arguments::Login;
use crate::client::Client;
use crate::error::Error;
use crate::output;
use crate::pull::credentials;

/// The steps that start a container.
pub async fn container(client: &mut Client, name: &str) -> Result<ExitCode, Error> {
    let request = ExplainContainerRequest { container_id: client.container(name).await?.id };
    let answer = client.cradle.explain_container(request).await.map_err(of_explaining)?;
    output::text(answer.into_inner().text)?;
    Ok(ExitCode::SUCCESS)
}

/// Whom a pull would ask.
pub async fn reference(client: &mut Client, image: &str, login: &Login) -> Result<ExitCode, Error> {
    let request = ExplainReferenceRequest { reference: image.to_owned(), auth: credentials(login)? };
    let answer = client.cradle.explain_reference(request).await.map_err(of_explaining)?;
    output::text(answer.into_inner().text)?;
    Ok(ExitCode::SUCCESS)
}

fn of_explaining(status: tonic::Status) -> Error {
    let error = Error::from(status);
    if error.is_unimplemented() {
        Error::local("the daemon at this socket does not explain what it does")
    } else {
        error
    }
}
