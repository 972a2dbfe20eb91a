//! PodSandboxStats: the figures of one pod and its containers.

use cradle_cri_api::v1;
use cradle_domain::{Class, Failure};

use crate::edge::Edge;
use crate::{from_proto, to_proto};

pub async fn answer(edge: &Edge, request: v1::PodSandboxStatsRequest) -> Result<v1::PodSandboxStatsResponse, Failure> {
    let id = from_proto::id("pod_sandbox_id", request.pod_sandbox_id)?;
    let pod = edge.engine.find_pod(&id)?;
    let engine = edge.engine.clone();
    let usages = edge.act(async move { engine.pod_usage(vec![pod]).await }).await?;
    match usages.first() {
        Some(usage) => Ok(v1::PodSandboxStatsResponse { stats: Some(to_proto::pod_stats(usage)) }),
        None => Err(Failure::new(Class::Refused, format!("the pod sandbox {id} has ended and uses nothing"))),
    }
}
