//! A pod with one container that runs.

use std::time::Duration;

use anyhow::{Result, ensure};
use cradle_cri_api::v1;
use v1::{ContainerState, PodSandboxState};

use crate::client::{Answer, Client};
use crate::node::Home;
use crate::specs;
use crate::until::until;

/// Until a container has said something.
const READY: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Running {
    pub pod: String,
    pub container: String,
}

impl Running {
    /// A pod with a network of its own.
    pub async fn begin(home: &Home, client: &Client, name: &str, container: &v1::ContainerConfig) -> Answer<Self> {
        Self::begin_in(client, &specs::pod(home, name), container).await
    }

    pub async fn begin_in(
        client: &Client,
        pod_config: &v1::PodSandboxConfig,
        container: &v1::ContainerConfig,
    ) -> Answer<Self> {
        let pod = client.run_pod(pod_config).await?;
        let container = client.create(&pod, container, pod_config).await?;
        client.start(&container).await?;
        Ok(Running { pod, container })
    }

    /// Waits until an obedient container, by its pod's name and its own, handles SIGTERM.
    pub async fn is_ready(home: &Home, pod: &str, container: &str) -> Result<()> {
        let log = home.logs().join(pod).join(format!("{container}.log"));
        until(READY, "the container's word that it is ready", async || {
            let said = std::fs::read_to_string(&log)?;
            ensure!(said.contains(" ready"), "it said {said:?}");
            Ok(())
        })
        .await
    }

    pub async fn states(&self, client: &Client) -> Answer<(PodSandboxState, ContainerState)> {
        let pod = client.pod_status(&self.pod).await?.state();
        Ok((pod, client.container_status(&self.container).await?.state()))
    }

    /// Whether it runs, as it should.
    pub async fn runs(&self, client: &Client) -> Answer<bool> {
        Ok(self.states(client).await? == (PodSandboxState::SandboxReady, ContainerState::ContainerRunning))
    }
}
