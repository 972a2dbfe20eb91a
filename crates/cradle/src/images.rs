//! `cradle images` and `cradle rmi`.

use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::arguments::{Images, Rmi};
use crate::client::{Client, container_name, image_spec};
use crate::error::Error;
use crate::{output, table};

pub async fn images(client: &mut Client, images: &Images) -> Result<ExitCode, Error> {
    let mut listed = client.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
    listed.sort_by(|left, right| left.repo_tags.cmp(&right.repo_tags));
    if images.quiet {
        listed.iter().try_for_each(|image| output::line(&image.id))?;
    } else {
        let rows: Vec<_> = listed.iter().flat_map(rows).collect();
        table::print(&["IMAGE", "TAG", "IMAGE ID", "SIZE"], &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One row for each tag; an image without a tag has one with its digest's repository.
fn rows(image: &v1::Image) -> Vec<Vec<String>> {
    let row = |name: &str, tag: &str| {
        vec![name.to_owned(), tag.to_owned(), table::short_id(&image.id), table::size(image.size)]
    };
    if image.repo_tags.is_empty() {
        let digest = image.repo_digests.first();
        return vec![row(digest.and_then(|digest| digest.split('@').next()).unwrap_or("<none>"), "<none>")];
    }
    let split = |tag: &String| tag.rsplit_once(':').map_or_else(|| row(tag, ""), |(name, tag)| row(name, tag));
    image.repo_tags.iter().map(split).collect()
}

/// Removes images, up to the first one that cannot be removed.
pub async fn remove(client: &mut Client, rmi: &Rmi) -> Result<ExitCode, Error> {
    for name in &rmi.images {
        let none = || Error::local(format!("there is no image {name:?}: cradle images lists all"));
        let image = client.image(name).await?.ok_or_else(none)?;
        if !rmi.force {
            refuse_if_wanted(name, &image, &client.containers().await?)?;
        }
        client.images.remove_image(v1::RemoveImageRequest { image: Some(image_spec(&image.id)) }).await?;
        image.repo_tags.iter().chain([&image.id]).try_for_each(output::line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The CRI removes an image with all its names, whoever uses it: fine for a kubelet, a surprise for people.
fn refuse_if_wanted(name: &str, image: &v1::Image, containers: &[v1::Container]) -> Result<(), Error> {
    let is_id = image.id.trim_start_matches("sha256:").starts_with(name.trim_start_matches("sha256:"));
    if image.repo_tags.len() > 1 && !is_id {
        let names = image.repo_tags.join(", ");
        let text =
            format!("the image {name:?} has more names, which would go with it: {names}\ngive its id, or --force");
        return Err(Error::Local(text));
    }
    let user = containers.iter().find(|container| container.image_id == image.id || container.image_ref == image.id);
    match user {
        None => Ok(()),
        Some(container) => Err(Error::Local(format!(
            "the image {name:?} is that of container {} ({}): remove it first, or give --force",
            container_name(container),
            table::short_id(&container.id),
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: &[&str]) -> v1::Image {
        v1::Image {
            id: "sha256:abcdef0123456789".into(),
            repo_tags: tags.iter().map(ToString::to_string).collect(),
            repo_digests: vec!["localhost:5000/a/b@sha256:1".into()],
            size: 1000,
            ..Default::default()
        }
    }

    #[test]
    fn each_tag_has_a_row() {
        let rows = |tags: &[&str]| rows(&image(tags)).into_iter().map(|row| row.join(" ")).collect::<Vec<_>>();
        assert_eq!(
            rows(&["localhost:5000/a:1", "docker.io/library/b:x"]),
            ["localhost:5000/a 1 abcdef012345 1.00 kB", "docker.io/library/b x abcdef012345 1.00 kB"]
        );
        assert_eq!(rows(&[]), ["localhost:5000/a/b <none> abcdef012345 1.00 kB"]);
    }

    #[test]
    fn an_image_that_somebody_wants_is_not_removed_by_one_of_its_names() {
        let refused = |name: &str, tags: &[&str], containers: &[v1::Container]| {
            refuse_if_wanted(name, &image(tags), containers).err().map(|error| error.to_string())
        };
        assert_eq!(refused("a:1", &["a:1"], &[]), None);
        assert!(refused("a:1", &["a:1", "b:2"], &[]).unwrap().contains("a:1, b:2"));
        assert_eq!(refused("sha256:abcdef", &["a:1", "b:2"], &[]), None);
        assert_eq!(refused("abcdef", &["a:1", "b:2"], &[]), None);
        let user = v1::Container { id: "c1".into(), image_id: image(&[]).id, ..Default::default() };
        assert!(refused("abcdef", &["a:1"], &[user]).unwrap().contains("container  (c1)"));
    }
}
