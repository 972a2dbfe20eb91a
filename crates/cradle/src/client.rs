//! The connection to the daemon, and containers by what people call them.

use std::path::Path;

use cradle_cri_api::v1;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use v1::image_service_client::ImageServiceClient;
use v1::runtime_service_client::RuntimeServiceClient;

/// Label of the pods that this program makes; its value is the container's name.
pub const NAME_LABEL: &str = "cradle.name";

/// Answers of this size are accepted, as the kubelet does.
const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why a command failed, as its user reads it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connecting to {socket}: {why}\nis cradled running? its socket is named with --socket")]
    Connect { socket: String, why: String },
    #[error("{0}")]
    Daemon(String),
    #[error("{0}")]
    Local(String),
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Error::Daemon(status.message().to_owned())
    }
}

/// Both services of the daemon.
pub struct Client {
    pub runtime: RuntimeServiceClient<Channel>,
    pub images: ImageServiceClient<Channel>,
}

impl Client {
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let failed = |why: String| Error::Connect { socket: socket.display().to_string(), why };
        let path = socket.to_path_buf();
        // The address is not used: the connector goes to the socket.
        let endpoint = Endpoint::from_static("http://localhost");
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| failed(innermost(&error)))?;
        Ok(Client {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_MAX_BYTES),
        })
    }

    /// The container with this name or with the id that begins so.
    pub async fn container(&mut self, name: &str) -> Result<v1::Container, Error> {
        let listed = self.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner().containers;
        let called = |container: &&v1::Container| container_name(container) == name;
        let mut found: Vec<_> = listed.iter().filter(called).collect();
        if found.is_empty() {
            found = listed.iter().filter(|container| container.id.starts_with(name)).collect();
        }
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(Error::Local(format!("there is no container {name:?}: see cradle ps --all"))),
            [..] => Err(Error::Local(format!("more than one container is called {name:?}: give its id"))),
        }
    }
}

/// What people call a container: the name given to `cradle run`, or the one in its pod.
pub fn container_name(container: &v1::Container) -> &str {
    let metadata = container.metadata.as_ref().map_or("", |metadata| metadata.name.as_str());
    container.labels.get(NAME_LABEL).map_or(metadata, String::as_str)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
