//! A pod with one container that runs.

use cradle_cri_api::v1;
use v1::{ContainerState, PodSandboxState};

use crate::client::{Answer, Client};
use crate::node::Home;
use crate::specs;

#[derive(Debug, Clone)]
pub struct Running {
    pub pod: String,
    pub container: String,
}

impl Running {
    /// A pod with a network of its own.
    pub async fn begin(
        home: &Home,
        client: &Client,
        name: &str,
        container: &v1::ContainerConfig,
    ) -> Answer<Self> {
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

    pub async fn states(&self, client: &Client) -> Answer<(PodSandboxState, ContainerState)> {
        let pod = client.pod_status(&self.pod).await?.state();
        Ok((pod, client.container_status(&self.container).await?.state()))
    }

    /// Whether it runs, as it should.
    pub async fn runs(&self, client: &Client) -> Answer<bool> {
        Ok(self.states(client).await? == (PodSandboxState::SandboxReady, ContainerState::ContainerRunning))
    }
}
