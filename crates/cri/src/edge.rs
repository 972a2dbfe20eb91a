//! What all RPCs share: the engine, the image store, and where work is done.

use std::future::Future;
use std::sync::Arc;

use cradle_domain::Failure;
use cradle_engine::ports::Images;
use cradle_engine::{Engine, joined, request};
use cradle_streaming::Urls;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// What the RPCs stand on.
///
/// Requests are read and lists are answered on the runtime that serves the socket; whatever changes something runs on
/// `work`, so that a read never queues behind it.
#[derive(Clone)]
pub struct Edge {
    pub engine: Arc<Engine>,
    pub images: Arc<dyn Images>,
    /// Gives out the URLs of exec, attach and port-forward.
    pub streaming: Urls,
    /// Where everything that is not a plain read runs.
    pub work: Handle,
    pub facts: Arc<Facts>,
}

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// A semantic version.
    pub version: &'static str,
    /// The effective configuration, for people.
    pub config: serde_json::Value,
    /// Mounts can be made read-only with all that is mounted below them (mount_setattr(2), Linux 5.12).
    pub recursive_read_only_mounts: bool,
    /// User namespaces and id-mapped mounts work.
    pub user_namespaces: bool,
    /// Systemd keeps the control groups: the kubelet shall have it make those of pods.
    pub systemd_cgroups: bool,
}

impl Edge {
    /// Runs an act on the work runtime. It goes on when the client leaves: the kubelet asks again and then finds it done.
    pub async fn act<T, F>(&self, act: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        joined(self.begin(act).await)
    }

    /// Runs an act on the work runtime until it is done or the client leaves.
    pub async fn act_while_asked<T, F>(&self, act: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut task = AbortOnDrop(self.begin(act));
        joined((&mut task.0).await)
    }

    fn begin<T, F>(&self, act: F) -> JoinHandle<Result<T, Failure>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.work.spawn(request::scope(request::current(), act).in_current_span())
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
