//! Fuzz target: every message that a client may send, as far as it is checked before the engine hears of it.

use cradle_cri_api::{cradle_v1, v1};
use cradle_domain::Failure;
use prost::Message;
use tonic::Code;

use crate::from_proto::{self, ContainerFilter, Field, InvalidField, PodFilter};
use crate::limits::STATUS_MESSAGE_MAX_BYTES;
use crate::status;

type Checked = Result<(), InvalidField>;

/// The messages of the requests, each with what its RPC checks. A byte of the input chooses one.
const REQUESTS: &[fn(&[u8])] = &[
    |data| check(data, |r: v1::RunPodSandboxRequest| from_proto::pod(r).map(drop)),
    |data| {
        check(data, |r: v1::CreateContainerRequest| {
            from_proto::id("pod_sandbox_id", r.pod_sandbox_id)?;
            from_proto::container(r.config).map(drop)
        })
    },
    |data| {
        check(data, |r: v1::UpdateContainerResourcesRequest| {
            from_proto::id("container_id", r.container_id)?;
            let field = Field::root("linux");
            from_proto::resources(field, field.required(r.linux)?).map(drop)
        })
    },
    |data| {
        check(data, |r: v1::ExecSyncRequest| {
            from_proto::id("container_id", r.container_id)?;
            from_proto::command(r.cmd)?;
            from_proto::execution_limit(r.timeout).map(drop)
        })
    },
    |data| {
        check(data, |r: v1::ExecRequest| {
            from_proto::id("container_id", r.container_id)?;
            from_proto::command(r.cmd)?;
            from_proto::wanted(r.stdin, r.stdout, r.stderr, r.tty).map(drop)
        })
    },
    |data| {
        check(data, |r: v1::AttachRequest| {
            from_proto::id("container_id", r.container_id)?;
            from_proto::wanted(r.stdin, r.stdout, r.stderr, r.tty).map(drop)
        })
    },
    |data| {
        check(data, |r: v1::PortForwardRequest| {
            from_proto::id("pod_sandbox_id", r.pod_sandbox_id)?;
            from_proto::ports(r.port).map(drop)
        })
    },
    |data| {
        check(data, |r: v1::StopContainerRequest| {
            from_proto::id("container_id", r.container_id)?;
            from_proto::grace_period(r.timeout).map(drop)
        })
    },
    |data| check(data, |r: v1::PullImageRequest| from_proto::pull(r).map(drop)),
    |data| check(data, |r: v1::ImageStatusRequest| from_proto::image_name(r.image).map(drop)),
    |data| check(data, |r: v1::RemoveImageRequest| from_proto::image_name(r.image).map(drop)),
    |data| check(data, |r: v1::ListPodSandboxRequest| PodFilter::read(r.filter).map(drop)),
    |data| check(data, |r: v1::ListContainersRequest| ContainerFilter::read(r.filter).map(drop)),
    |data| check(data, |r: v1::StreamPodSandboxesRequest| PodFilter::read(r.filter).map(drop)),
    |data| check(data, |r: v1::StreamContainersRequest| ContainerFilter::read(r.filter).map(drop)),
    |data| {
        check(data, |r: v1::ListPodSandboxStatsRequest| {
            let _ = PodFilter::of_stats(r.filter);
            Ok(())
        })
    },
    |data| {
        check(data, |r: v1::ListContainerStatsRequest| {
            let _ = ContainerFilter::of_stats(r.filter);
            Ok(())
        })
    },
    |data| check(data, |r: v1::StartContainerRequest| from_proto::id("container_id", r.container_id).map(drop)),
    |data| check(data, |r: v1::StopPodSandboxRequest| from_proto::id("pod_sandbox_id", r.pod_sandbox_id).map(drop)),
    |data| check(data, |_: v1::StatusRequest| Ok(())),
    |data| check(data, |_: v1::ListImagesRequest| Ok(())),
    |data| check(data, |_: v1::UpdateRuntimeConfigRequest| Ok(())),
    |data| {
        check(data, |r: cradle_v1::PullRequest| {
            from_proto::wish(Field::root("reference"), r.reference, r.auth).map(drop)
        })
    },
    |data| check(data, |_: cradle_v1::ExplainReferenceRequest| Ok(())),
];

/// A message, after a byte that says of which request.
pub fn request(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else { return };
    REQUESTS[usize::from(kind) % REQUESTS.len()](data);
}

/// What is understood is written and understood again as the same; what is refused, is so with a field and a reason.
fn check<M: Message + Default + Clone + PartialEq>(data: &[u8], check: impl Fn(M) -> Checked) {
    let Ok(message) = M::decode(data) else { return };
    assert!(M::decode(&*message.encode_to_vec()).is_ok_and(|again| again == message));
    let Err(refused) = check(message) else { return };
    let text = refused.to_string();
    assert!(text.contains(": ") && text.contains(" is "), "{text}");
    let status = status::from_failure(&Failure::from(refused));
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().len() <= STATUS_MESSAGE_MAX_BYTES);
}

#[cfg(test)]
mod tests;
