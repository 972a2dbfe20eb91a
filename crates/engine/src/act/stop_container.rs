//! StopContainer: the stop signal, the grace period, then a kill of the whole group. Its exit is the death of its first
//! process. A second stop with a shorter grace does not wait for the first.

use std::sync::Arc;
use std::time::Duration;

use cradle_domain::lifecycle::Admission;
use cradle_domain::lifecycle::container::{ContainerRequest, ContainerState};
use cradle_domain::{Class, Failure};
use cradle_shim::protocol::{Request, Scope, Target};

use super::tear_down;
use crate::container::Container;
use crate::engine::{Core, detached};
use crate::{limits, request};

pub(crate) async fn stop_container(
    core: &Arc<Core>,
    container: Arc<Container>,
    grace: Duration,
) -> Result<(), Failure> {
    if container.admit(ContainerRequest::Stop)? == Admission::Already {
        return Ok(());
    }
    let core = core.clone();
    detached(async move {
        let mut grace = grace;
        if container.state() == ContainerState::Starting
            && tokio::time::timeout(grace, container.lane.lock()).await.is_err()
        {
            // It hangs on its way, where no signal but SIGKILL reaches it.
            grace = Duration::ZERO;
        }
        if !container.is_alive() {
            return Ok(());
        }
        if !grace.is_zero() && ends_by_signal(&core, &container, grace).await? {
            return Ok(());
        }
        kill(&core, &container).await
    })
    .await
}

/// Asks it to end; tells whether it did so within the grace period.
async fn ends_by_signal(core: &Core, container: &Container, grace: Duration) -> Result<bool, Failure> {
    let pod = core.pod_of(container)?;
    // Without a shim it is being killed already.
    let Some(link) = pod.link() else { return Ok(false) };
    let target = Target::Container(container.id.clone());
    let signal = Request::Signal { target, signal: container.stop_signal.number(), scope: Scope::Leader };
    if let Err(failure) = link.call(&request::current(), signal, Vec::new()).await {
        tracing::warn!(container = %container.id, %failure, "the stop signal could not be sent");
        return Ok(false);
    }
    Ok(tokio::time::timeout(grace, container.dead()).await.is_ok())
}

/// Kills every process of a container and waits for its end.
pub(crate) async fn kill(core: &Core, container: &Container) -> Result<(), Failure> {
    let pod = core.pod_of(container)?;
    tear_down::ask(&pod, Request::KillContainer { container: container.id.clone() }).await?;
    tokio::time::timeout(limits::KILL, container.dead()).await.map_err(|_| {
        let text = format!("container {} is still alive {} s after SIGKILL", container.id, limits::KILL.as_secs());
        Failure::new(Class::Deadline, text).with_hint("a process of it hangs in the kernel: see its stack in /proc")
    })
}
