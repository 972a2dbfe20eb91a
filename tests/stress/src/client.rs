//! A client of the CRI. Each call has a deadline: none may hang. The connection is made at the first call and again
//! whenever it broke, as the kubelet's is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cradle_cri_api::v1;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tonic::codegen::http;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tower::{Service, ServiceExt};
use v1::image_service_client::ImageServiceClient;
use v1::runtime_service_client::RuntimeServiceClient;

/// As the kubelet's for most requests.
const DEADLINE: Duration = Duration::from_secs(120);

const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

pub type Answer<T> = Result<T, Status>;

#[derive(Clone)]
pub struct Client {
    channel: Channel,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    deadline: Duration,
}

impl Client {
    /// A client with a connection of its own.
    pub fn new(socket: PathBuf) -> Self {
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Client {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES),
            channel,
            deadline: DEADLINE,
        }
    }

    /// The same connection with another deadline for each call.
    pub fn within(&self, deadline: Duration) -> Client {
        Client { deadline, ..self.clone() }
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }

    /// Sends any bytes as the body of an RPC's request.
    pub async fn raw(&self, path: &str, body: Vec<u8>) -> Answer<()> {
        let request = http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
        let request = request.body(tonic::body::Body::new(http_body_util::Full::from(body)));
        let request = request.map_err(|error| Status::internal(error.to_string()))?;
        let lost = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let response = self.channel.clone().ready().await.map_err(lost)?.call(request).await.map_err(lost)?;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err(status);
        }
        let collected = response.into_body().collect().await?;
        match collected.trailers().and_then(Status::from_header_map) {
            Some(status) if status.code() == Code::Ok => Ok(()),
            Some(status) => Err(status),
            None => Err(Status::internal("an answer without a status")),
        }
    }

    pub async fn version(&self) -> Answer<v1::VersionResponse> {
        let request = self.ask(v1::VersionRequest::default());
        Ok(self.runtime.clone().version(request).await?.into_inner())
    }

    /// Status with its verbose information.
    pub async fn status(&self) -> Answer<v1::StatusResponse> {
        let request = self.ask(v1::StatusRequest { verbose: true });
        Ok(self.runtime.clone().status(request).await?.into_inner())
    }

    pub async fn run_pod(&self, config: &v1::PodSandboxConfig) -> Answer<String> {
        self.run_pod_with(config, "").await
    }

    pub async fn run_pod_with(&self, config: &v1::PodSandboxConfig, handler: &str) -> Answer<String> {
        let (config, runtime_handler) = (Some(config.clone()), handler.to_owned());
        let request = self.ask(v1::RunPodSandboxRequest { config, runtime_handler });
        Ok(self.runtime.clone().run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    pub async fn stop_pod(&self, id: &str) -> Answer<()> {
        let request = self.ask(v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() });
        self.runtime.clone().stop_pod_sandbox(request).await.map(drop)
    }

    pub async fn remove_pod(&self, id: &str) -> Answer<()> {
        let request = self.ask(v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() });
        self.runtime.clone().remove_pod_sandbox(request).await.map(drop)
    }

    pub async fn pod_status(&self, id: &str) -> Answer<v1::PodSandboxStatus> {
        let request = self.ask(v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false });
        let answer = self.runtime.clone().pod_sandbox_status(request).await?.into_inner();
        answer.status.ok_or_else(|| Status::internal("PodSandboxStatus without a status"))
    }

    /// The pod's address; empty on the host's network.
    pub async fn address(&self, pod: &str) -> Answer<String> {
        Ok(self.pod_status(pod).await?.network.unwrap_or_default().ip)
    }

    pub async fn pods(&self) -> Answer<Vec<v1::PodSandbox>> {
        let request = self.ask(v1::ListPodSandboxRequest::default());
        Ok(self.runtime.clone().list_pod_sandbox(request).await?.into_inner().items)
    }

    pub async fn create(
        &self,
        pod: &str,
        config: &v1::ContainerConfig,
        pod_config: &v1::PodSandboxConfig,
    ) -> Answer<String> {
        let request = self.ask(v1::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(pod_config.clone()),
        });
        Ok(self.runtime.clone().create_container(request).await?.into_inner().container_id)
    }

    pub async fn start(&self, container: &str) -> Answer<()> {
        let request = self.ask(v1::StartContainerRequest { container_id: container.to_owned() });
        self.runtime.clone().start_container(request).await.map(drop)
    }

    /// Stops a container with so many seconds of grace.
    pub async fn stop(&self, container: &str, timeout: i64) -> Answer<()> {
        let request = self.ask(v1::StopContainerRequest { container_id: container.to_owned(), timeout });
        self.runtime.clone().stop_container(request).await.map(drop)
    }

    pub async fn remove(&self, container: &str) -> Answer<()> {
        let request = self.ask(v1::RemoveContainerRequest { container_id: container.to_owned() });
        self.runtime.clone().remove_container(request).await.map(drop)
    }

    pub async fn container_status(&self, container: &str) -> Answer<v1::ContainerStatus> {
        let answer = self.container_status_verbose(container, false).await?;
        answer.status.ok_or_else(|| Status::internal("ContainerStatus without a status"))
    }

    async fn container_status_verbose(&self, container: &str, verbose: bool) -> Answer<v1::ContainerStatusResponse> {
        let request = self.ask(v1::ContainerStatusRequest { container_id: container.to_owned(), verbose });
        Ok(self.runtime.clone().container_status(request).await?.into_inner())
    }

    /// The container's first process.
    pub async fn container_pid(&self, container: &str) -> Answer<u32> {
        let info = self.container_status_verbose(container, true).await?.info;
        let pid = info.values().find_map(|text| {
            let json: serde_json::Value = serde_json::from_str(text).ok()?;
            u32::try_from(json.get("pid")?.as_u64()?).ok()
        });
        pid.ok_or_else(|| Status::not_found(format!("the container's information has no pid: {info:?}")))
    }

    pub async fn containers(&self) -> Answer<Vec<v1::Container>> {
        let request = self.ask(v1::ListContainersRequest::default());
        Ok(self.runtime.clone().list_containers(request).await?.into_inner().containers)
    }

    /// Runs a command with a bound of so many seconds; 0: none.
    pub async fn exec(&self, container: &str, words: &[&str], timeout: i64) -> Answer<v1::ExecSyncResponse> {
        let cmd = words.iter().map(|word| (*word).to_owned()).collect();
        let request = self.ask(v1::ExecSyncRequest { container_id: container.to_owned(), cmd, timeout });
        Ok(self.runtime.clone().exec_sync(request).await?.into_inner())
    }

    pub async fn reopen_log(&self, container: &str) -> Answer<()> {
        let request = self.ask(v1::ReopenContainerLogRequest { container_id: container.to_owned() });
        self.runtime.clone().reopen_container_log(request).await.map(drop)
    }

    pub async fn update(&self, container: &str, limits: v1::LinuxContainerResources) -> Answer<()> {
        let request = self.ask(v1::UpdateContainerResourcesRequest {
            container_id: container.to_owned(),
            linux: Some(limits),
            windows: None,
            annotations: BTreeMap::new(),
        });
        self.runtime.clone().update_container_resources(request).await.map(drop)
    }

    pub async fn container_stats(&self, container: &str) -> Answer<v1::ContainerStats> {
        let request = self.ask(v1::ContainerStatsRequest { container_id: container.to_owned() });
        let answer = self.runtime.clone().container_stats(request).await?.into_inner();
        answer.stats.ok_or_else(|| Status::internal("ContainerStats without stats"))
    }

    pub async fn pod_stats(&self, pod: &str) -> Answer<v1::PodSandboxStats> {
        let request = self.ask(v1::PodSandboxStatsRequest { pod_sandbox_id: pod.to_owned() });
        let answer = self.runtime.clone().pod_sandbox_stats(request).await?.into_inner();
        answer.stats.ok_or_else(|| Status::internal("PodSandboxStats without stats"))
    }

    pub async fn all_container_stats(&self) -> Answer<Vec<v1::ContainerStats>> {
        let request = self.ask(v1::ListContainerStatsRequest::default());
        Ok(self.runtime.clone().list_container_stats(request).await?.into_inner().stats)
    }

    pub async fn all_pod_stats(&self) -> Answer<Vec<v1::PodSandboxStats>> {
        let request = self.ask(v1::ListPodSandboxStatsRequest::default());
        Ok(self.runtime.clone().list_pod_sandbox_stats(request).await?.into_inner().stats)
    }

    pub async fn pull(&self, image: &str) -> Answer<String> {
        let image = Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() });
        let request = self.ask(v1::PullImageRequest { image, ..Default::default() });
        Ok(self.images.clone().pull_image(request).await?.into_inner().image_ref)
    }

    pub async fn images(&self) -> Answer<Vec<v1::Image>> {
        let request = self.ask(v1::ListImagesRequest::default());
        Ok(self.images.clone().list_images(request).await?.into_inner().images)
    }

    pub async fn remove_image(&self, image: &str) -> Answer<()> {
        let image = Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() });
        let request = self.ask(v1::RemoveImageRequest { image });
        self.images.clone().remove_image(request).await.map(drop)
    }
}

/// The code of what should have failed.
pub fn code<T>(answer: &Answer<T>) -> Code {
    answer.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

/// An answer in words, for reports.
pub fn said<T: std::fmt::Debug>(answer: &Answer<T>) -> String {
    match answer {
        Ok(value) => format!("success: {value:?}"),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}
