//! An image's configuration (OCI image-spec, config.md): typed and bounded, since whoever pushed the image wrote it.

use std::collections::BTreeMap;

use cradle_domain::{Class, Classified, Digest, Signal};
use cradle_engine::view::{ImageConfig, ImageHistory};
use serde::Deserialize;

use super::Platform;
use crate::limits::{CONFIG_LIST_MAX, CONFIG_MAX_BYTES};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the image's configuration is larger than {CONFIG_MAX_BYTES} bytes")]
    TooLarge,
    #[error("the image's configuration is not JSON of the expected form")]
    Json(#[source] serde_json::Error),
    #[error("the image's configuration has more than {CONFIG_LIST_MAX} entries in {field:?}")]
    TooMany { field: &'static str },
    #[error("the image's configuration has a NUL in {field:?}")]
    Nul { field: &'static str },
    #[error("the image's configuration has no list of layers")]
    NoRootfs,
    #[error("the manifest has {layers} layers, the image's configuration has {diff_ids}")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("the image is for {image}, this machine is {wanted}")]
    Platform { image: String, wanted: String },
}

impl Classified for ConfigError {
    fn class(&self) -> Class {
        Class::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ConfigError::Platform { .. } => "build and push the image for this platform".into(),
            _ => "the image in the registry is malformed; build and push it again".into(),
        })
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    config: Option<RawExecution>,
    rootfs: Option<RawRootfs>,
    #[serde(default)]
    history: Option<Vec<RawHistory>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct RawExecution {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Deserialize)]
struct RawHistory {
    created: Option<String>,
    created_by: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    empty_layer: bool,
}

/// Reads a configuration; answers with the diff ids of its layers as well, the base first. `layers` is how many the
/// manifest has, and `wanted` what the image must be for, if that matters.
pub fn parse_config(
    bytes: &[u8],
    layers: usize,
    wanted: Option<&Platform>,
) -> Result<(ImageConfig, Vec<Digest>), ConfigError> {
    if bytes.len() as u64 > CONFIG_MAX_BYTES {
        return Err(ConfigError::TooLarge);
    }
    let raw: Raw = serde_json::from_slice(bytes).map_err(ConfigError::Json)?;
    let diff_ids = raw.rootfs.and_then(|rootfs| rootfs.diff_ids).ok_or(ConfigError::NoRootfs)?;
    if diff_ids.len() != layers {
        return Err(ConfigError::LayerCount { layers, diff_ids: diff_ids.len() });
    }
    let platform = Platform {
        os: raw.os.unwrap_or_default(),
        architecture: raw.architecture.unwrap_or_default(),
        variant: raw.variant.unwrap_or_default(),
    };
    // Very old images say nothing.
    if let Some(wanted) = wanted
        && !platform.os.is_empty()
        && !platform.architecture.is_empty()
        && wanted.rank(&platform).is_none()
    {
        return Err(ConfigError::Platform { image: platform.to_string(), wanted: wanted.to_string() });
    }
    let execution = raw.config.unwrap_or_default();
    let history = bounded("history", raw.history)?;
    let config = ImageConfig {
        user: text("User", execution.user)?,
        env: texts("Env", execution.env)?,
        entrypoint: texts("Entrypoint", execution.entrypoint)?,
        cmd: texts("Cmd", execution.cmd)?,
        working_dir: text("WorkingDir", execution.working_dir)?,
        volumes: keys("Volumes", execution.volumes)?,
        // What names no signal is as good as nothing: the default is then used.
        stop_signal: execution.stop_signal.and_then(|name| Signal::parse(&name).ok()),
        labels: labels(execution.labels)?,
        architecture: platform.architecture,
        os: platform.os,
        created: raw.created.unwrap_or_default(),
        exposed_ports: keys("ExposedPorts", execution.exposed_ports)?,
        author: raw.author.unwrap_or_default(),
        history: history.into_iter().map(history_line).collect(),
    };
    Ok((config, diff_ids))
}

fn history_line(raw: RawHistory) -> ImageHistory {
    ImageHistory {
        created: raw.created.unwrap_or_default(),
        created_by: raw.created_by.unwrap_or_default(),
        comment: raw.comment.unwrap_or_default(),
        empty_layer: raw.empty_layer,
    }
}

fn bounded<T>(field: &'static str, list: Option<Vec<T>>) -> Result<Vec<T>, ConfigError> {
    let list = list.unwrap_or_default();
    if list.len() > CONFIG_LIST_MAX { Err(ConfigError::TooMany { field }) } else { Ok(list) }
}

/// Text that goes to execve(2) or mount(2), which end at a NUL.
fn text(field: &'static str, value: Option<String>) -> Result<String, ConfigError> {
    let value = value.unwrap_or_default();
    if value.contains('\0') { Err(ConfigError::Nul { field }) } else { Ok(value) }
}

fn texts(field: &'static str, list: Option<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    bounded(field, list)?.into_iter().map(|value| text(field, Some(value))).collect()
}

fn keys<T>(field: &'static str, map: Option<BTreeMap<String, T>>) -> Result<Vec<String>, ConfigError> {
    texts(field, map.map(|map| map.into_keys().collect()))
}

fn labels(map: Option<BTreeMap<String, String>>) -> Result<BTreeMap<String, String>, ConfigError> {
    let map = map.unwrap_or_default();
    if map.len() > CONFIG_LIST_MAX { Err(ConfigError::TooMany { field: "Labels" }) } else { Ok(map) }
}
