//! `cradle pull`.

use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::arguments::Pull;
use crate::client::{Client, Error};

pub async fn pull(client: &mut Client, pull: &Pull) -> Result<ExitCode, Error> {
    let id = fetch(client, &pull.image).await?;
    println!("{id}");
    Ok(ExitCode::SUCCESS)
}

/// Fetches an image and answers with its id.
pub async fn fetch(client: &mut Client, image: &str) -> Result<String, Error> {
    let spec = v1::ImageSpec { image: image.to_owned(), ..v1::ImageSpec::default() };
    let request = v1::PullImageRequest { image: Some(spec), ..v1::PullImageRequest::default() };
    Ok(client.images.pull_image(request).await?.into_inner().image_ref)
}
