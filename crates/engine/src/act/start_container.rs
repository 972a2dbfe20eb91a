//! StartContainer: the plan goes to the shim, whose answer comes after the execve.
//!
//! Nothing is recorded on the way: the shim is the truth about processes, so a daemon that dies meanwhile finds the
//! container running, or created and never started.

use std::sync::Arc;

use cradle_domain::lifecycle::container::{ContainerRequest, ContainerState};
use cradle_domain::lifecycle::pod::PodRequest;
use cradle_domain::{Class, Failure};
use cradle_executor::plan::{self, ContainerPlan, ExecPlan, PlanContext, Rootfs};
use cradle_shim::protocol::{ContainerIo, Reply, Request, StartContainer};

use crate::container::Container;
use crate::engine::{Core, detached};
use crate::pod::Pod;
use crate::ports::RootFilesystem;
use crate::{oci, request};

pub(crate) async fn start_container(core: &Arc<Core>, container: Arc<Container>) -> Result<(), Failure> {
    let core = core.clone();
    detached(async move {
        let _alone = container.lane.lock().await;
        let pod = core.pod_of(&container)?;
        pod.admit(PodRequest::StartContainer)?;
        container.admit(ContainerRequest::Start)?;
        let doing = |failure: Failure| failure.context(format!("starting container {}", container.spec.name));
        let plan = planned(&core, &pod, &container).await.map_err(doing)?;
        let link = pod.shim()?;
        let io = ContainerIo {
            log_path: Some(container.log_path.clone()).filter(|path| !path.is_empty()),
            log_line_max_bytes: core.settings.log_line_max_bytes,
            terminal: container.spec.terminal,
            stdin: container.spec.stdin,
            stdin_once: container.spec.stdin_once,
        };
        let start = Request::StartContainer(Box::new(StartContainer { plan: ContainerPlan::clone(&plan), io }));
        container.start_begun();
        match link.call(&request::current(), start, Vec::new()).await {
            Ok((Reply::Started { pid, at }, _)) => {
                container.started(pid, at);
                Ok(())
            }
            Ok(_) => Err(Failure::new(Class::Bug, "the shim's answer was of another kind than the request's")),
            Err(failure) => {
                container.start_failed(failure.to_string());
                // Known to nobody else: the shim forgets what it could not start.
                core.ports.records.save_container(&container.record()).await?;
                Err(failure)
            }
        }
        .map_err(doing)
    })
    .await
}

/// The container's plan in words, made again where an earlier daemon made it.
pub(crate) async fn explain(core: &Arc<Core>, container: Arc<Container>) -> Result<String, Failure> {
    let core = core.clone();
    detached(async move {
        // A plan prepares the root file system, which a removal discards.
        let _alone = container.lane.lock().await;
        if container.state() == ContainerState::Removing {
            return Err(Failure::new(Class::NotFound, format!("container {} is being removed", container.id)));
        }
        let pod = core.pod_of(&container)?;
        let plan = planned(&core, &pod, &container).await;
        plan.map(|plan| plan.to_string())
            .map_err(|failure| failure.context(format!("planning container {}", container.spec.name)))
    })
    .await
}

/// The container's plan, made again where an earlier daemon made it.
pub(crate) async fn planned(core: &Core, pod: &Pod, container: &Container) -> Result<Arc<ContainerPlan>, Failure> {
    if let Some(plan) = container.plan.get() {
        return Ok(plan.clone());
    }
    // Preparing again gives what is there already.
    let root = core.ports.images.prepare(&container.id, &container.image.id, pod.user_namespace()).await?;
    plan(core, pod, container, root).await
}

/// The plan of one more process: that of the container's first exec with another command.
pub(crate) async fn exec_plan(
    core: &Core,
    pod: &Pod,
    container: &Container,
    command: &[String],
    terminal: bool,
) -> Result<ExecPlan, Failure> {
    let prepared = container.exec_plan.get_or_try_init(|| async {
        let of = planned(core, pod, container).await?;
        let mut process = oci::exec_process(core, pod, container)?;
        process.set_terminal(Some(false));
        Ok::<_, Failure>(plan::exec(&process, &of, &core.settings.facts)?)
    });
    Ok(prepared.await?.with_command(command, terminal)?)
}

/// Plans the container on its root file system.
pub(crate) async fn plan(
    core: &Core,
    pod: &Pod,
    container: &Container,
    root: RootFilesystem,
) -> Result<Arc<ContainerPlan>, Failure> {
    let plan = container.plan.get_or_try_init(|| async {
        let spec = oci::container(core, pod, container).await?;
        let rootfs = match root.lower.is_empty() {
            true => Rootfs::Directory(root.upper),
            false => Rootfs::Overlay { lower: root.lower, upper: root.upper, work: root.work },
        };
        let facts = &core.settings.facts;
        let context = PlanContext { id: container.id.clone(), rootfs, owners: root.owners, facts };
        Ok::<_, Failure>(Arc::new(plan::container(&spec, &context)?))
    });
    plan.await.cloned()
}
