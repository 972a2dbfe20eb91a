//! `cradle inspect`: containers and images in full, as JSON for programs and for people.

use std::collections::BTreeMap;
use std::process::ExitCode;

use cradle_cri_api::v1;
use serde_json::{Map, Value, json};

use crate::client::{Client, container_name, image_spec};
use crate::error::Error;
use crate::{output, time};

pub async fn inspect(client: &mut Client, names: &[String]) -> Result<ExitCode, Error> {
    let mut found = Vec::new();
    for name in names {
        found.push(one(client, name).await?);
    }
    // With `#`, as docker prints it: indented, one object after the other in an array.
    output::line(format_args!("{:#}", Value::Array(found)))?;
    Ok(ExitCode::SUCCESS)
}

/// The container of this name or, if there is none, the image.
async fn one(client: &mut Client, name: &str) -> Result<Value, Error> {
    let no_container = match client.container(name).await {
        Ok(container) => return inspect_container(client, &container).await,
        Err(error) => error,
    };
    match client.image(name).await {
        Ok(Some(image)) => inspect_image(client, &image).await,
        Ok(None) => Err(Error::Local(format!("{no_container}; nor is there such an image"))),
        Err(error) => Err(error),
    }
}

async fn inspect_container(client: &mut Client, container: &v1::Container) -> Result<Value, Error> {
    let request = v1::ContainerStatusRequest { container_id: container.id.clone(), verbose: true };
    let answer = client.runtime.container_status(request).await?.into_inner();
    let status = answer.status.unwrap_or_default();
    let mut object = json!({
        "kind": "container",
        "id": status.id,
        "name": container_name(container),
        "pod": container.pod_sandbox_id,
        "state": state(&status),
        "createdAt": time::rfc3339(status.created_at),
        "startedAt": time::rfc3339(status.started_at),
        "finishedAt": time::rfc3339(status.finished_at),
        "exitCode": status.exit_code,
        "reason": status.reason,
        "message": status.message,
        "image": {
            "id": status.image_id,
            "name": status.image.as_ref().map(|image| &image.image),
            "reference": status.image_ref,
        },
        "user": status.user.and_then(|user| user.linux).map(|user| json!({
            "uid": user.uid, "gid": user.gid, "supplementalGroups": user.supplemental_groups,
        })),
        "mounts": status.mounts.iter().map(mount).collect::<Vec<_>>(),
        "resources": status.resources.as_ref().and_then(|resources| resources.linux.as_ref()).map(resources),
        "logPath": status.log_path,
        "labels": status.labels,
        "annotations": status.annotations,
    });
    add_info(&mut object, answer.info);
    Ok(object)
}

async fn inspect_image(client: &mut Client, image: &v1::Image) -> Result<Value, Error> {
    let request = v1::ImageStatusRequest { image: Some(image_spec(&image.id)), verbose: true };
    let answer = client.images.image_status(request).await?.into_inner();
    let mut object = json!({
        "kind": "image",
        "id": image.id,
        "tags": image.repo_tags,
        "digests": image.repo_digests,
        "sizeBytes": image.size,
        "user": image.uid.map_or_else(|| image.username.clone(), |uid| uid.value.to_string()),
        "pinned": image.pinned,
    });
    add_info(&mut object, answer.info);
    Ok(object)
}

fn state(status: &v1::ContainerStatus) -> &'static str {
    match status.state() {
        v1::ContainerState::ContainerCreated => "created",
        v1::ContainerState::ContainerRunning => "running",
        v1::ContainerState::ContainerExited => "exited",
        v1::ContainerState::ContainerUnknown => "unknown",
    }
}

fn mount(mount: &v1::Mount) -> Value {
    json!({
        "at": mount.container_path,
        "source": mount.host_path,
        "image": mount.image.as_ref().map(|image| &image.image),
        "readOnly": mount.readonly,
        "propagation": mount.propagation().as_str_name(),
    })
}

/// The limits that are set; 0 and an empty text say that one is not.
fn resources(limits: &v1::LinuxContainerResources) -> Value {
    let numbers = [
        ("cpuPeriodUs", limits.cpu_period),
        ("cpuQuotaUs", limits.cpu_quota),
        ("cpuShares", limits.cpu_shares),
        ("memoryLimitBytes", limits.memory_limit_in_bytes),
        ("memorySwapLimitBytes", limits.memory_swap_limit_in_bytes),
        ("oomScoreAdj", limits.oom_score_adj),
    ];
    let texts = [("cpusetCpus", &limits.cpuset_cpus), ("cpusetMems", &limits.cpuset_mems)];
    let numbers = numbers.into_iter().filter(|(_, value)| *value != 0).map(|(name, value)| (name, json!(value)));
    let texts = texts.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, json!(value)));
    let mut set: Map<_, _> = numbers.chain(texts).map(|(name, value)| (name.to_owned(), value)).collect();
    if !limits.unified.is_empty() {
        set.insert("unified".to_owned(), json!(limits.unified));
    }
    Value::Object(set)
}

/// What the daemon says of itself, topic by topic; what is no JSON stays text.
fn add_info(object: &mut Value, info: BTreeMap<String, String>) {
    for (topic, text) in info {
        object[topic] = serde_json::from_str(&text).unwrap_or(Value::String(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_that_are_set_are_shown() {
        let limits = v1::LinuxContainerResources { cpu_shares: 2, cpuset_cpus: "0-1".into(), ..Default::default() };
        assert_eq!(resources(&limits), json!({ "cpuShares": 2, "cpusetCpus": "0-1" }));
        assert_eq!(resources(&Default::default()), json!({}));
    }

    #[test]
    fn the_daemons_own_words_are_json_or_text() {
        let mut object = json!({ "id": "x" });
        let info = [("info".to_owned(), r#"{"pid":7}"#.to_owned()), ("note".to_owned(), "{broken".to_owned())];
        add_info(&mut object, info.into());
        assert_eq!(object, json!({ "id": "x", "info": { "pid": 7 }, "note": "{broken" }));
    }
}
