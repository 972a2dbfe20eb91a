//! A command whose client has left it on purpose: it runs on, reads the end of its input, and what it writes goes nowhere.
//! When the daemon stops, it is hung up like all others.

use std::future::pending;

use tokio::sync::SemaphorePermit;
use tracing::info;

use super::process::{End, Output, Process};
use crate::carrier::{Gone, Writer};
use crate::descriptor::Descriptor;
use crate::limits::{DETACHED_MAX, FAREWELL};
use crate::server::Shared;

/// Finds a place for the command, and tells the client only then that it may go. What was attached to needs none.
pub(super) async fn let_go<'a>(
    shared: &'a Shared,
    writer: &Writer,
    process: &Process,
) -> Result<Option<SemaphorePermit<'a>>, Gone> {
    let place = match process.end {
        End::Exec(_) => Some(shared.detached.try_acquire().map_err(|_| Gone::MayNotDetach(DETACHED_MAX))?),
        End::Attachment(_) => None,
    };
    // It said what it wants, and may be gone.
    let _ = tokio::time::timeout(FAREWELL, writer.let_go()).await;
    Ok(place)
}

/// Ends when the command has ended. Dropped before that, it is hung up.
pub(super) async fn run_on(shared: &Shared, process: Process) {
    let Process { mut input, output: Output { stdout, stderr }, end: End::Exec(mut exec) } = process else { return };
    info!("its client has detached: the command goes on, its output is dropped");
    // Kept to the end, it keeps a terminal's master.
    input.end();
    let dropped = async {
        tokio::join!(drop_output(shared, stdout.as_deref()), drop_output(shared, stderr.as_deref()));
        // What has closed its output may run on.
        pending::<()>().await;
    };
    tokio::select! {
        _ = exec.ended() => {}
        () = dropped => {}
    }
}

/// Reads to the end, so that the process never waits.
async fn drop_output(shared: &Shared, source: Option<&Descriptor>) {
    let Some(source) = source else { return };
    while let Ok(Some(_)) = source.read(&shared.buffers).await {}
}
