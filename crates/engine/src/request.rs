//! The id of the gRPC request on whose behalf something is done; the logs of daemon and shim share it.

use std::future::Future;

use tokio::task::JoinHandle;

tokio::task_local! {
    static ID: String;
}

/// Runs `future` on behalf of the request `id`.
pub async fn scope<F: Future>(id: String, future: F) -> F::Output {
    ID.scope(id, future).await
}

/// The request on whose behalf this runs; work of the daemon's own has `-`.
pub fn current() -> String {
    ID.try_with(Clone::clone).unwrap_or_else(|_| "-".to_owned())
}

/// Starts work that goes on although the one who asked for it has left, on behalf of the same request.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    use tracing::Instrument;
    tokio::spawn(ID.scope(current(), future).in_current_span())
}
