//! An independent client: the crate k8s-cri, generated from another copy of the CRI's definition, takes a pod through its
//! life over the daemon's socket, with every RPC that both know. One line for each: `PASS name` or `FAIL name: why`.
//!
//! Usage: k8s-cri-client SOCKET IMAGE LOG_FOLDER

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::*;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Response, Status};

/// Grace period of StopContainer; the command ends at once.
const STOP_TIMEOUT_S: i64 = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, image, logs] = arguments.as_slice() else {
        anyhow::bail!("usage: k8s-cri-client SOCKET IMAGE LOG_FOLDER")
    };
    let channel = connect(PathBuf::from(socket)).await?;
    let mut client = Client {
        runtime: RuntimeServiceClient::new(channel.clone()),
        images: ImageServiceClient::new(channel),
        image: ImageSpec { image: image.clone(), ..Default::default() },
        logs: logs.clone(),
    };
    client.daemon().await?;
    let id = client.image().await?;
    let pod = client.pod().await?;
    client.container(&pod, &id).await?;
    client.end(&pod).await
}

async fn connect(socket: PathBuf) -> Result<Channel> {
    let connect = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connect).await.context("connecting to the daemon")
}

struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    image: ImageSpec,
    logs: String,
}

/// Tells whether an RPC answered, and gives its answer; without one the rest cannot go on.
fn answer<T>(name: &str, result: Result<Response<T>, Status>) -> Result<T> {
    match result {
        Ok(response) => {
            println!("PASS {name}");
            Ok(response.into_inner())
        }
        Err(status) => {
            println!("FAIL {name}: {:?}: {}", status.code(), status.message());
            Err(status).with_context(|| name.to_owned())
        }
    }
}

fn expect(name: &str, holds: bool, seen: impl Display) {
    if holds { println!("PASS {name}") } else { println!("FAIL {name}: saw {seen}") }
}

impl Client {
    async fn daemon(&mut self) -> Result<()> {
        let version = answer("Version", self.runtime.version(VersionRequest::default()).await)?;
        expect("Version_tells_v1", version.runtime_api_version == "v1", version.runtime_api_version);
        let status = answer("Status", self.runtime.status(StatusRequest { verbose: true }).await)?;
        let status = status.status.unwrap_or_default();
        let met = |name| status.conditions.iter().any(|condition| condition.r#type == name && condition.status);
        let ready = met("RuntimeReady") && met("NetworkReady");
        expect("Status_tells_that_it_is_ready", ready, format!("{:?}", status.conditions));
        answer("RuntimeConfig", self.runtime.runtime_config(RuntimeConfigRequest {}).await)?;
        let config = RuntimeConfig { network_config: Some(NetworkConfig { pod_cidr: String::new() }) };
        let request = UpdateRuntimeConfigRequest { runtime_config: Some(config) };
        answer("UpdateRuntimeConfig", self.runtime.update_runtime_config(request).await)?;
        Ok(())
    }

    /// The image's id.
    async fn image(&mut self) -> Result<String> {
        let request = PullImageRequest { image: Some(self.image.clone()), ..Default::default() };
        let id = answer("PullImage", self.images.pull_image(request).await)?.image_ref;
        let request = ImageStatusRequest { image: Some(self.image.clone()), verbose: false };
        let status = answer("ImageStatus", self.images.image_status(request).await)?.image.unwrap_or_default();
        expect("ImageStatus_has_the_pulled_id", status.id == id, status.id);
        let listed = answer("ListImages", self.images.list_images(ListImagesRequest::default()).await)?.images;
        expect("ListImages_has_it", listed.iter().any(|image| image.id == id), listed.len());
        let usage = answer("ImageFsInfo", self.images.image_fs_info(ImageFsInfoRequest {}).await)?;
        let used = usage.image_filesystems.first().and_then(|usage| usage.used_bytes).unwrap_or_default().value;
        expect("ImageFsInfo_counts_bytes", used > 0, used);
        Ok(id)
    }

    async fn pod(&mut self) -> Result<String> {
        let request = RunPodSandboxRequest { config: Some(self.pod_config()), ..Default::default() };
        let pod = answer("RunPodSandbox", self.runtime.run_pod_sandbox(request).await)?.pod_sandbox_id;
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: true };
        let status =
            answer("PodSandboxStatus", self.runtime.pod_sandbox_status(request).await)?.status.unwrap_or_default();
        expect(
            "PodSandboxStatus_is_ready",
            status.state() == PodSandboxState::SandboxReady,
            status.state().as_str_name(),
        );
        let address = status.network.unwrap_or_default().ip;
        expect("PodSandboxStatus_has_an_address", !address.is_empty(), &address);
        let filter = PodSandboxFilter { id: pod.clone(), ..Default::default() };
        let request = ListPodSandboxRequest { filter: Some(filter) };
        let listed = answer("ListPodSandbox", self.runtime.list_pod_sandbox(request).await)?.items;
        expect("ListPodSandbox_has_it", listed.len() == 1, listed.len());
        Ok(pod)
    }

    fn pod_config(&self) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: "k8s-cri".to_owned(),
                uid: "k8s-cri-uid".to_owned(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            log_directory: self.logs.clone(),
            labels: [("client".to_owned(), "k8s-cri".to_owned())].into(),
            linux: Some(LinuxPodSandboxConfig::default()),
            ..Default::default()
        }
    }

    async fn container(&mut self, pod: &str, image_id: &str) -> Result<()> {
        let words = ["sh", "-c", "echo \"hello $WHO\"; trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"];
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
            image: Some(self.image.clone()),
            command: words.map(str::to_owned).to_vec(),
            envs: vec![KeyValue { key: "WHO".to_owned(), value: "world".to_owned() }],
            log_path: "c.log".to_owned(),
            linux: Some(LinuxContainerConfig::default()),
            ..Default::default()
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config),
            sandbox_config: Some(self.pod_config()),
        };
        let container_id = answer("CreateContainer", self.runtime.create_container(request).await)?.container_id;
        let request = StartContainerRequest { container_id: container_id.clone() };
        answer("StartContainer", self.runtime.start_container(request).await)?;
        self.look_at(&container_id, image_id).await?;
        let request = StopContainerRequest { container_id: container_id.clone(), timeout: STOP_TIMEOUT_S };
        answer("StopContainer", self.runtime.stop_container(request).await)?;
        let request = ContainerStatusRequest { container_id: container_id.clone(), verbose: false };
        let status =
            answer("ContainerStatus", self.runtime.container_status(request).await)?.status.unwrap_or_default();
        expect(
            "ContainerStatus_has_exited",
            status.state() == ContainerState::ContainerExited,
            status.state().as_str_name(),
        );
        let log = std::fs::read_to_string(Path::new(&self.logs).join("c.log")).unwrap_or_default();
        expect("the_log_has_the_output", log.contains(" stdout F hello world"), log.trim());
        answer("RemoveContainer", self.runtime.remove_container(RemoveContainerRequest { container_id }).await)?;
        Ok(())
    }

    async fn look_at(&mut self, container: &str, image_id: &str) -> Result<()> {
        let listed = answer("ListContainers", self.runtime.list_containers(ListContainersRequest::default()).await)?;
        let found = listed.containers.iter().find(|listed| listed.id == container).cloned().unwrap_or_default();
        expect("ListContainers_tells_the_image", found.image_id == image_id, found.image_id);
        let request = ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: ["sh", "-c", "echo out; echo err >&2; exit 7"].map(str::to_owned).to_vec(),
            timeout: 10,
        };
        let said = answer("ExecSync", self.runtime.exec_sync(request).await)?;
        let right = (&said.stdout[..], &said.stderr[..], said.exit_code) == (b"out\n", b"err\n", 7);
        expect("ExecSync_keeps_streams_and_code_apart", right, format!("{said:?}"));
        let request = ReopenContainerLogRequest { container_id: container.to_owned() };
        answer("ReopenContainerLog", self.runtime.reopen_container_log(request).await)?;
        Ok(())
    }

    async fn end(&mut self, pod: &str) -> Result<()> {
        let pod_sandbox_id = pod.to_owned();
        let request = StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
        answer("StopPodSandbox", self.runtime.stop_pod_sandbox(request).await)?;
        answer("RemovePodSandbox", self.runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await)?;
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.to_owned(), verbose: false };
        let gone = self.runtime.pod_sandbox_status(request).await;
        let code = gone.as_ref().err().map(Status::code);
        expect("a_removed_pod_is_not_found", code == Some(tonic::Code::NotFound), format!("{code:?}"));
        let request = RemoveImageRequest { image: Some(self.image.clone()) };
        answer("RemoveImage", self.images.remove_image(request).await)?;
        ensure!(gone.is_err(), "the pod is still there");
        Ok(())
    }
}
