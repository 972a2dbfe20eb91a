//! The connection to the daemon, and containers by what people call them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use cradle_cri_api::{cradle_v1, v1};
use cradle_v1::cradle_client::CradleClient;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use v1::image_service_client::ImageServiceClient;
use v1::runtime_service_client::RuntimeServiceClient;

use crate::error::{Error, innermost};

/// Label of the pods and containers that `cradle run` makes; its value is the name.
pub const NAME_LABEL: &str = "cradle.name";

/// Answers of this size are accepted, as the kubelet does.
const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Fewer digits are too easily meant as a name.
const IMAGE_ID_MIN_DIGITS: usize = 4;

/// The daemon's services.
#[derive(Clone)]
pub struct Client {
    pub runtime: RuntimeServiceClient<Channel>,
    pub images: ImageServiceClient<Channel>,
    pub cradle: CradleClient<Channel>,
}

impl Client {
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let path = socket.to_path_buf();
        // The address is not used: the connector goes to the socket.
        let endpoint = Endpoint::from_static("http://localhost");
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| cannot_connect(socket, &error))?;
        Ok(Client {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES),
            cradle: CradleClient::new(channel).max_decoding_message_size(MESSAGE_MAX_BYTES),
        })
    }

    pub async fn containers(&mut self) -> Result<Vec<v1::Container>, Error> {
        Ok(self.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner().containers)
    }

    /// The container with this name, or with the id that begins so.
    pub async fn container(&mut self, name: &str) -> Result<v1::Container, Error> {
        resolve(self.containers().await?, name)
    }

    pub async fn status(&mut self, container: &str) -> Result<v1::ContainerStatus, Error> {
        let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
        Ok(self.runtime.container_status(request).await?.into_inner().status.unwrap_or_default())
    }

    /// The image with this name or id, or with the id that begins so, if it is here.
    pub async fn image(&mut self, name: &str) -> Result<Option<v1::Image>, Error> {
        let request = v1::ImageStatusRequest { image: Some(image_spec(name)), verbose: false };
        if let Some(image) = self.images.image_status(request).await?.into_inner().image {
            return Ok(Some(image));
        }
        let Some(digits) = id_digits(name) else { return Ok(None) };
        let mut images = self.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
        images.retain(|image| image.id.trim_start_matches("sha256:").starts_with(digits));
        match images.len() {
            0 | 1 => Ok(images.pop()),
            _ => Err(Error::Local(format!("more than one image has an id that begins with {name:?}: give more of it"))),
        }
    }

    /// The pods that `cradle run` made under this name.
    pub async fn pods_named(&mut self, name: &str) -> Result<Vec<v1::PodSandbox>, Error> {
        let label_selector = BTreeMap::from([(NAME_LABEL.to_owned(), name.to_owned())]);
        let filter = v1::PodSandboxFilter { label_selector, ..Default::default() };
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        let mut pods = self.runtime.list_pod_sandbox(request).await?.into_inner().items;
        // Anybody may give a Kubernetes pod the label.
        let uid = run_uid(name);
        pods.retain(|pod| pod.metadata.as_ref().is_some_and(|metadata| metadata.uid == uid));
        Ok(pods)
    }
}

/// The uid of the pod that `cradle run` makes under this name. It is the same for each of them, so that there is one at
/// a time, and no uid of Kubernetes.
pub fn run_uid(name: &str) -> String {
    format!("cradle-run-{name}")
}

/// An image by its name or id.
pub fn image_spec(name: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: name.to_owned(), ..Default::default() }
}

/// What people call a container: the name given to `cradle run`, or the one in its pod.
pub fn container_name(container: &v1::Container) -> &str {
    let metadata = container.metadata.as_ref().map_or("", |metadata| metadata.name.as_str());
    container.labels.get(NAME_LABEL).map_or(metadata, String::as_str)
}

/// The digits of a name that can be the beginning of an image's id.
fn id_digits(name: &str) -> Option<&str> {
    let digits = name.trim_start_matches("sha256:");
    (digits.len() >= IMAGE_ID_MIN_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

/// The one of `containers` that `name` means.
fn resolve(mut containers: Vec<v1::Container>, name: &str) -> Result<v1::Container, Error> {
    let called = containers.iter().any(|container| container_name(container) == name);
    containers.retain(|container| match called {
        true => container_name(container) == name,
        false => !name.is_empty() && container.id.starts_with(name),
    });
    if containers.len() > 1 {
        let ids: Vec<_> = containers.iter().map(|container| crate::table::short_id(&container.id)).collect();
        let text = format!("{name:?} means more than one container: give more of one of the ids {}", ids.join(", "));
        return Err(Error::Local(text));
    }
    let none = || Error::Local(format!("there is no container {name:?}: cradle ps --all lists all"));
    containers.pop().ok_or_else(none)
}

fn cannot_connect(socket: &Path, error: &tonic::transport::Error) -> Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let hint = match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => "the daemon speaks with root only: try again with sudo",
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            "is the daemon running? systemctl status cradle; one with another socket is named with --socket"
        }
        _ => "is this the socket of a container runtime?",
    };
    Error::Connect { socket: socket.display().to_string(), why: innermost(error), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str, name: &str, label: Option<&str>) -> v1::Container {
        v1::Container {
            id: id.to_owned(),
            metadata: Some(v1::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            labels: label.map(|label| (NAME_LABEL.to_owned(), label.to_owned())).into_iter().collect(),
            ..Default::default()
        }
    }

    #[test]
    fn only_digits_can_begin_an_images_id() {
        for (name, digits) in [
            ("sha256:abc4", Some("abc4")),
            ("0123456789ab", Some("0123456789ab")),
            ("abc", None),
            ("nginx", None),
            ("cafe:1", None),
        ] {
            assert_eq!(id_digits(name), digits, "{name}");
        }
    }

    #[test]
    fn names_come_before_the_beginnings_of_ids() {
        let all = || {
            vec![
                container("abc1", "c", Some("web")),
                container("abc2", "nginx", None),
                container("def3", "nginx", None),
                container("eee4", "abc1", None),
            ]
        };
        let id = |name| resolve(all(), name).map(|container| container.id).map_err(|error| error.to_string());
        assert_eq!(id("web").unwrap(), "abc1");
        assert_eq!(id("abc1").unwrap(), "eee4");
        assert_eq!(id("abc2").unwrap(), "abc2");
        assert_eq!(id("d").unwrap(), "def3");
        assert!(id("nginx").unwrap_err().contains("ids abc2, def3"));
        assert!(id("abc").unwrap_err().contains("more than one"));
        assert!(id("c").unwrap_err().contains("no container \"c\""));
        assert!(id("").unwrap_err().contains("no container"));
    }
}
