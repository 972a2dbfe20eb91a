//! Real shims: started with posix_spawn(3), found again by their socket, spoken to over `SOCK_SEQPACKET`.
//!
//! ```text
//! <state>/pods/<pod>/shim.sock   listening, for a daemon that comes back
//! <state>/pods/<pod>/exits/…     exit records
//! <state>/shims.log              what all shims log
//! ```

mod connect;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod launch;
mod link;
mod probe;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cradle_domain::{ContainerId, PodId};
use cradle_shim::protocol::{ContainerReport, ExitRecord};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::ports::{Act, Found, ShimEvent, ShimLink, Shims};

use launch::ShimsGroup;

pub use launch::OpenError;

/// Larger exit records are no records.
const EXIT_RECORD_MAX_BYTES: u64 = 64 * 1024;

/// Starts and finds the shims of one state folder.
pub struct Launcher {
    program: std::ffi::CString,
    pods: PathBuf,
    log: File,
    group: Arc<ShimsGroup>,
}

impl Launcher {
    fn folder(&self, pod: &PodId) -> PathBuf {
        self.pods.join(pod.as_str())
    }
}

impl Shims for Launcher {
    fn launch<'a>(&'a self, pod: &'a PodId, events: mpsc::Sender<ShimEvent>) -> Act<'a, Arc<dyn ShimLink>> {
        Box::pin(async move { Ok(launch::launch(self, pod, events).await?) })
    }

    fn connect<'a>(&'a self, pod: &'a PodId, events: mpsc::Sender<ShimEvent>) -> Act<'a, Option<Found>> {
        Box::pin(async move { Ok(connect::connect(self, pod, events).await?) })
    }

    fn none_left(&self) {
        self.group.give_back();
    }

    fn exit_record(&self, pod: &PodId, container: &ContainerId) -> Option<ContainerReport> {
        read_exit_record(&self.folder(pod).join("exits").join(container.as_str()))
    }
}

/// A descriptor whose readiness can be awaited.
#[expect(deprecated, reason = "the replacement is unsafe for types that may close it meanwhile; an OwnedFd does not")]
fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}

fn read_exit_record(path: &Path) -> Option<ContainerReport> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(EXIT_RECORD_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    ExitRecord::decode(&bytes).map(|record| record.report)
}
