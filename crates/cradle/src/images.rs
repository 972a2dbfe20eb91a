//! `cradle images`, `cradle rmi` and `cradle image prune`.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use cradle_cri_api::cradle_v1::ListImageUsageRequest;
use cradle_cri_api::v1;

use crate::arguments::{Images, Prune, Rmi};
use crate::client::{Client, container_name, image_spec};
use crate::error::Error;
use crate::{output, table};

pub async fn images(client: &mut Client, images: &Images) -> Result<ExitCode, Error> {
    let mut listed = client.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
    listed.sort_by(|left, right| left.repo_tags.cmp(&right.repo_tags));
    if images.quiet {
        listed.iter().try_for_each(|image| output::line(&image.id))?;
        return Ok(ExitCode::SUCCESS);
    }
    let shared = shared_bytes(client).await?;
    let rows: Vec<_> = listed.iter().flat_map(|image| rows(image, shared.get(&image.id).copied())).collect();
    table::print(&["IMAGE", "TAG", "IMAGE ID", "SIZE", "SHARED", "UNIQUE"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// For each image, the bytes that others have as well; nothing from a daemon that does not tell.
async fn shared_bytes(client: &mut Client) -> Result<HashMap<String, u64>, Error> {
    match client.cradle.list_image_usage(ListImageUsageRequest {}).await.map_err(Error::from) {
        Ok(usage) => Ok(usage.into_inner().images.into_iter().map(|image| (image.id, image.shared_bytes)).collect()),
        Err(error) if error.is_unimplemented() => Ok(HashMap::new()),
        Err(error) => Err(error),
    }
}

/// One row for each tag; an image without a tag has one with its digest's repository.
fn rows(image: &v1::Image, shared: Option<u64>) -> Vec<Vec<String>> {
    let of_shared = |size: fn(u64, u64) -> u64| shared.map_or("-".into(), |bytes| table::size(size(image.size, bytes)));
    let row = |name: &str, tag: &str| {
        vec![
            name.to_owned(),
            tag.to_owned(),
            table::short_id(&image.id),
            table::size(image.size),
            of_shared(|_, shared| shared),
            of_shared(u64::saturating_sub),
        ]
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

/// Removes the images that nobody would miss, after asking.
pub async fn prune(client: &mut Client, prune: &Prune) -> Result<ExitCode, Error> {
    let listed = client.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
    let containers = client.containers().await?;
    let unwanted: Vec<_> = listed.into_iter().filter(|image| is_unwanted(image, &containers, prune.all)).collect();
    if unwanted.is_empty() {
        output::note("there is no image to remove");
        return Ok(ExitCode::SUCCESS);
    }
    if !prune.force && !is_confirmed(unwanted.len())? {
        return Ok(ExitCode::FAILURE);
    }
    for image in unwanted {
        client.images.remove_image(v1::RemoveImageRequest { image: Some(image_spec(&image.id)) }).await?;
        image.repo_tags.iter().chain([&image.id]).try_for_each(output::line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether no container is made from an image, nobody has pinned it and, unless all such are meant, no tag leads to it.
fn is_unwanted(image: &v1::Image, containers: &[v1::Container], all: bool) -> bool {
    (all || image.repo_tags.is_empty()) && !image.pinned && user_of(image, containers).is_none()
}

fn is_confirmed(images: usize) -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::local("there is no terminal to ask on: give --force"));
    }
    output::note(format_args!("Remove {images} images? [y/N]"));
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.map_err(|error| Error::local(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A container that is made from an image.
fn user_of<'a>(image: &v1::Image, containers: &'a [v1::Container]) -> Option<&'a v1::Container> {
    containers.iter().find(|container| container.image_id == image.id || container.image_ref == image.id)
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
    match user_of(image, containers) {
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
        let rows =
            |tags: &[&str], shared| rows(&image(tags), shared).into_iter().map(|row| row.join(" ")).collect::<Vec<_>>();
        assert_eq!(
            rows(&["localhost:5000/a:1", "docker.io/library/b:x"], Some(400)),
            [
                "localhost:5000/a 1 abcdef012345 1.00 kB 400 B 600 B",
                "docker.io/library/b x abcdef012345 1.00 kB 400 B 600 B"
            ]
        );
        assert_eq!(rows(&[], None), ["localhost:5000/a/b <none> abcdef012345 1.00 kB - -"]);
    }

    #[test]
    fn an_image_that_is_tagged_pinned_or_used_is_not_pruned() {
        let user = v1::Container { image_id: image(&[]).id, ..Default::default() };
        let pinned = v1::Image { pinned: true, ..image(&[]) };
        assert!(is_unwanted(&image(&[]), &[], false) && is_unwanted(&image(&["a:1"]), &[], true));
        assert!(!is_unwanted(&image(&["a:1"]), &[], false));
        assert!(!is_unwanted(&pinned, &[], true) && !is_unwanted(&image(&[]), &[user], true));
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
