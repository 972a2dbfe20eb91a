//! `cradle images` and `cradle rmi`.

use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::client::{Client, Error};
use crate::table;

pub async fn images(client: &mut Client) -> Result<ExitCode, Error> {
    let mut images = client.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
    images.sort_by(|left, right| left.repo_tags.cmp(&right.repo_tags));
    let rows: Vec<_> = images.iter().flat_map(rows).collect();
    table::print(&["IMAGE", "TAG", "IMAGE ID", "SIZE"], &rows);
    Ok(ExitCode::SUCCESS)
}

/// One row for each tag; an image without a tag has one with its digest's repository.
fn rows(image: &v1::Image) -> Vec<Vec<String>> {
    let row = |name: &str, tag: &str| {
        vec![name.to_owned(), tag.to_owned(), table::short_id(&image.id), table::size(image.size)]
    };
    if image.repo_tags.is_empty() {
        let name = image.repo_digests.first().and_then(|digest| digest.split('@').next()).unwrap_or("<none>");
        return vec![row(name, "<none>")];
    }
    image.repo_tags.iter().map(|tag| tag.rsplit_once(':').map_or_else(|| row(tag, ""), |(name, tag)| row(name, tag))).collect()
}

pub async fn remove(client: &mut Client, images: &[String]) -> Result<ExitCode, Error> {
    for image in images {
        let spec = v1::ImageSpec { image: image.clone(), ..v1::ImageSpec::default() };
        let status = v1::ImageStatusRequest { image: Some(spec.clone()), verbose: false };
        if client.images.image_status(status).await?.into_inner().image.is_none() {
            return Err(Error::Local(format!("there is no image {image:?}: see cradle images")));
        }
        client.images.remove_image(v1::RemoveImageRequest { image: Some(spec) }).await?;
        println!("{image}");
    }
    Ok(ExitCode::SUCCESS)
}
