//! `cradle image inspect`: what images are made of, as JSON for programs and for people.

use std::process::ExitCode;

use cradle_cri_api::cradle_v1::{DescribeImageRequest, DescribeImageResponse, ImageLayer};
use cradle_cri_api::v1;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::Error;
use crate::output;

pub async fn inspect(client: &mut Client, names: &[String]) -> Result<ExitCode, Error> {
    let mut found = Vec::new();
    for name in names {
        let image = known(client, name).await?;
        found.push(object(&image, &describe(client, &image.id).await?)?);
    }
    output::line(format_args!("{:#}", Value::Array(found)))?;
    Ok(ExitCode::SUCCESS)
}

/// What the image of this name, or whose id begins so, is made of.
pub async fn describe(client: &mut Client, name: &str) -> Result<DescribeImageResponse, Error> {
    let image = known(client, name).await?.id;
    let answer = client.cradle.describe_image(DescribeImageRequest { image }).await.map_err(Error::from);
    match answer {
        Err(error) if error.is_unimplemented() => {
            Err(Error::local("the daemon at this socket does not tell what images are made of: try cradle inspect"))
        }
        answer => Ok(answer?.into_inner()),
    }
}

async fn known(client: &mut Client, name: &str) -> Result<v1::Image, Error> {
    let none = || Error::local(format!("there is no image {name:?}: cradle images lists all"));
    client.image(name).await?.ok_or_else(none)
}

fn object(image: &v1::Image, made_of: &DescribeImageResponse) -> Result<Value, Error> {
    let config: Value = serde_json::from_slice(&made_of.config)
        .map_err(|error| Error::Local(format!("the image's configuration cannot be read: {error}")))?;
    let usage = made_of.usage.clone().unwrap_or_default();
    Ok(json!({
        "id": image.id,
        "tags": image.repo_tags,
        "digests": image.repo_digests,
        "manifest": { "digest": made_of.manifest_digest, "mediaType": made_of.manifest_media_type },
        "created": config["created"],
        "platform": {
            "os": config["os"],
            "architecture": config["architecture"],
            "variant": config["variant"],
        },
        "labels": config["config"]["Labels"],
        "config": config["config"],
        "layers": made_of.layers.iter().map(layer).collect::<Vec<_>>(),
        "sizeBytes": usage.size_bytes,
        "sharedBytes": usage.shared_bytes,
        "uniqueBytes": usage.size_bytes.saturating_sub(usage.shared_bytes),
        "pinned": image.pinned,
    }))
}

fn layer(layer: &ImageLayer) -> Value {
    json!({
        "digest": layer.digest,
        "compressedBytes": layer.compressed_bytes,
        "diffId": layer.diff_id,
        "sizeBytes": layer.unpacked_bytes,
        "blobKept": layer.blob_kept,
    })
}

#[cfg(test)]
mod tests {
    use cradle_cri_api::cradle_v1::ImageUsage;

    use super::*;

    #[test]
    fn an_image_shows_its_parts_in_the_words_of_its_configuration() {
        let image = v1::Image { id: "sha256:1".into(), repo_tags: vec!["a:1".into()], ..Default::default() };
        let config = r#"{"os": "linux", "architecture": "arm", "variant": "v7", "config": {"Labels": {"a": "b"}}}"#;
        let mut made_of = DescribeImageResponse {
            manifest_digest: "sha256:2".into(),
            config: config.into(),
            layers: vec![ImageLayer { digest: "sha256:3".into(), unpacked_bytes: 70, ..Default::default() }],
            usage: Some(ImageUsage { size_bytes: 100, shared_bytes: 70, ..Default::default() }),
            ..Default::default()
        };
        let shown = object(&image, &made_of).unwrap();
        assert_eq!(shown["platform"], json!({ "os": "linux", "architecture": "arm", "variant": "v7" }));
        assert_eq!((&shown["labels"]["a"], &shown["uniqueBytes"]), (&json!("b"), &json!(30)));
        assert_eq!(shown["layers"][0]["sizeBytes"], 70);
        made_of.config = b"{".to_vec();
        assert!(object(&image, &made_of).is_err());
    }
}
