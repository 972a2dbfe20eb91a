//! Something that happens once, and those who wait for it.

use tokio::sync::watch;

/// Waits until the flag is raised. When nobody is left who could raise it, that counts as well.
pub(crate) async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}
