//! ReopenContainerLog: after a rotation.

use cradle_domain::Failure;
use cradle_domain::lifecycle::container::ContainerRequest;
use cradle_shim::protocol::Request;

use crate::container::Container;
use crate::engine::Core;
use crate::request;

pub(crate) async fn reopen_log(core: &Core, container: &Container) -> Result<(), Failure> {
    container.admit(ContainerRequest::ReopenLog)?;
    let link = core.pod_of(container)?.shim()?;
    let reopen = Request::ReopenLog { container: container.id.clone() };
    link.call(&request::current(), reopen, Vec::new()).await.map(|_| ())
}
