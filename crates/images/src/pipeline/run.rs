//! Runs the stages of one layer up to its verification.

use std::io;
use std::sync::Arc;
use std::thread;

use cradle_domain::{Class, Classified, Digest};
use tokio::sync::{mpsc, oneshot};

use super::decompress::{InflateError, Inflated, inflate};
use super::fetch::{FetchError, fetch};
use super::keep::{Keeping, KeptBlob, StoredBlob};
use super::pack::pack;
use super::pieces::Pieces;
use super::stage::Staged;
use super::sync::SyncError;
use super::unpack::{Unpacked, unpack};
use super::verify::{Digesting, Sum, Verified, VerifyError, check_blob, verify_archive, verify_blob};
use crate::limits::{FETCHED_PIECES_MAX, INFLATED_PIECES_MAX, LAYER_THREAD_NICENESS};
use crate::manifest::{LayerContent, LayerDescriptor};
use crate::progress::Board;
use crate::source::{Blob, Origin};
use crate::store::{DatabaseError, Workshop};
use crate::tee::Tee;
use crate::tree::{Grown, TreeError};

/// A layer to be had.
#[derive(Clone)]
pub struct LayerJob {
    pub descriptor: LayerDescriptor,
    pub diff_id: Digest,
    pub origin: Arc<dyn Origin>,
}

/// A layer that is verified but not committed.
pub type Fetched = Verified<Unpacked>;

/// A layer that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot get the layer {layer}")]
pub struct LayerError {
    pub layer: Digest,
    #[source]
    pub problem: LayerProblem,
}

/// Why a layer cannot be had: the stage that failed.
#[derive(Debug, thiserror::Error)]
pub enum LayerProblem {
    #[error("fetching it")]
    Fetch(#[source] FetchError),
    #[error("verifying it")]
    Verify(#[source] VerifyError),
    #[error("decompressing it")]
    Inflate(#[source] InflateError),
    #[error("unpacking it")]
    Unpack(#[source] TreeError),
    #[error("settling it upon the layers below")]
    Settle(#[source] TreeError),
    #[error("making a place for it")]
    Stage(#[source] io::Error),
    #[error("making it durable")]
    Sync(#[source] SyncError),
    #[error("recording it")]
    Record(#[source] DatabaseError),
    #[error("a thread of its pipeline was lost by a defect of the image store")]
    Lost,
}

impl Classified for LayerError {
    fn class(&self) -> Class {
        match &self.problem {
            LayerProblem::Fetch(error) => error.class(),
            LayerProblem::Verify(error) => error.class(),
            LayerProblem::Inflate(error) => error.class(),
            LayerProblem::Unpack(error) | LayerProblem::Settle(error) => error.class(),
            LayerProblem::Stage(error) => crate::tree::class_of(error),
            LayerProblem::Sync(error) => error.class(),
            LayerProblem::Record(error) => error.class(),
            LayerProblem::Lost => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match &self.problem {
            LayerProblem::Fetch(error) => error.hint(),
            LayerProblem::Verify(error) => error.hint(),
            LayerProblem::Inflate(error) => error.hint(),
            LayerProblem::Unpack(error) | LayerProblem::Settle(error) => error.hint(),
            LayerProblem::Sync(error) => error.hint(),
            LayerProblem::Record(error) => error.hint(),
            LayerProblem::Stage(_) | LayerProblem::Lost => None,
        }
    }
}

/// Fetches and unpacks a layer. When a host's bytes turn out to be the wrong ones, the other hosts are asked.
pub async fn run(job: &LayerJob, workshop: &Arc<Workshop>, board: &Board) -> Result<Fetched, LayerError> {
    let LayerDescriptor { digest, size, .. } = &job.descriptor;
    let failed = |problem| LayerError { layer: digest.clone(), problem };
    let mut blob: Box<dyn Blob> = match StoredBlob::open(&workshop.layout.blob(digest), *size, &job.origin).await {
        Some(stored) => Box::new(stored),
        None => ask(&*job.origin, digest, *size).await.map_err(failed)?,
    };
    loop {
        match attempt(job, blob.as_mut(), workshop, board).await {
            Err(LayerProblem::Verify(error @ VerifyError::Blob { .. })) => {
                let Some(other) = blob.other_origin() else { return Err(failed(LayerProblem::Verify(error))) };
                tracing::warn!(layer = %digest, %error, "asking the next host");
                blob = ask(&*other, digest, *size).await.map_err(failed)?;
            }
            result => return result.map_err(failed),
        }
    }
}

async fn ask(origin: &dyn Origin, digest: &Digest, size: u64) -> Result<Box<dyn Blob>, LayerProblem> {
    origin.blob(digest, size).await.map_err(|error| LayerProblem::Fetch(FetchError::Source(error)))
}

async fn attempt(
    job: &LayerJob,
    blob: &mut dyn Blob,
    workshop: &Arc<Workshop>,
    board: &Board,
) -> Result<Fetched, LayerProblem> {
    let LayerDescriptor { digest, size, .. } = &job.descriptor;
    let since = workshop.syncer.ticket();
    let (fetched_to, fetched) = mpsc::channel(FETCHED_PIECES_MAX);
    let (begun_job, begun_workshop) = (job.clone(), Arc::clone(workshop));
    let threads = tokio::task::spawn_blocking(move || begin(&begun_job, &begun_workshop, Pieces::new(fetched))).await;
    let threads = threads.map_err(|_panicked| LayerProblem::Lost)?.map_err(LayerProblem::Stage)?;
    let fetching = fetch(blob, digest, *size, fetched_to, board).await;
    // With the sender gone the threads come to their end, whatever happened.
    let inflated = threads.inflating.await.map_err(|_gone| LayerProblem::Lost)?;
    let unpacked = threads.unpacking.await.map_err(|_gone| LayerProblem::Lost)?;
    let ends = Ends { fetching, inflated: inflated.0, unpacked };
    let Outcome { staged, grown, blob, archive } = ends.judge(digest, *size)?;
    let unpacked = Unpacked { staged, grown, blob: inflated.1, since };
    let verified = match &job.descriptor.content {
        LayerContent::Layer => verify_archive(unpacked, &job.diff_id, &archive),
        LayerContent::Archive | LayerContent::File(_) => verify_blob(unpacked, digest, *size, &blob),
    };
    verified.map_err(LayerProblem::Verify)
}

struct Threads {
    inflating: oneshot::Receiver<(Inflated, Option<KeptBlob>)>,
    unpacking: oneshot::Receiver<UnpackEnd>,
}

/// The folder comes back in any case.
type UnpackEnd = (Staged, Result<(Grown, Sum), TreeError>);

/// Makes a place for the layer and starts its threads.
fn begin(job: &LayerJob, workshop: &Arc<Workshop>, fetched: Pieces) -> io::Result<Threads> {
    let staged = workshop.stage()?;
    let path = workshop.layout.blob(&job.descriptor.digest);
    let keep = || KeptBlob::create(path, staged.number(), Arc::clone(&workshop.disk));
    let blob = workshop.keep_blobs.then(keep).transpose()?;
    let (descriptor, limit) = (job.descriptor.clone(), workshop.max_unpacked_bytes);
    let (form, umask) = (workshop.form, workshop.umask);
    let (inflated_to, inflated) = mpsc::channel(INFLATED_PIECES_MAX);
    let (tell_inflating, inflating) = oneshot::channel();
    let (tell_unpacking, unpacking) = oneshot::channel();
    // A pull that was given up takes no answers; what they own cleans up after itself.
    thread::Builder::new().name("layer-inflate".into()).spawn(move || {
        give_way();
        let mut kept = Tee::new(fetched, Keeping(blob));
        let blob = Digesting::of(&mut kept);
        let result = match &descriptor.content {
            LayerContent::File(name) => pack(blob, name, descriptor.size, &inflated_to, limit),
            LayerContent::Layer | LayerContent::Archive => inflate(blob, descriptor.format, &inflated_to, limit),
        };
        drop(inflated_to);
        let (_, Keeping(kept)) = kept.into_parts();
        let _ = tell_inflating.send((result, kept));
    })?;
    thread::Builder::new().name("layer-unpack".into()).spawn(move || {
        give_way();
        let result = unpack(Digesting::of(Pieces::new(inflated)), &staged, form, umask);
        let _ = tell_unpacking.send((staged, result));
    })?;
    Ok(Threads { inflating, unpacking })
}

/// Lets this thread go after those that answer requests and bring bytes (setpriority(2): on Linux a priority is a
/// thread's).
fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(None, LAYER_THREAD_NICENESS) {
        tracing::debug!(%error, "a layer is unpacked at the priority of everything else");
    }
}

/// How the stages ended.
struct Ends {
    fetching: Result<(), FetchError>,
    inflated: Inflated,
    unpacked: UnpackEnd,
}

/// What came of stages that all succeeded, with the sums of what streamed by.
struct Outcome {
    staged: Staged,
    grown: Grown,
    blob: Sum,
    archive: Sum,
}

impl Ends {
    /// The cause, when several stages failed: each fails when its neighbour does, and a damaged blob shows in all of them.
    fn judge(self, digest: &Digest, size: u64) -> Result<Outcome, LayerProblem> {
        match self.fetching {
            Ok(()) | Err(FetchError::Unwanted) => {}
            Err(error) => return Err(LayerProblem::Fetch(error)),
        }
        if let Some(blob) = &self.inflated.blob {
            check_blob(digest, size, blob).map_err(LayerProblem::Verify)?;
        }
        let (staged, unpacked) = self.unpacked;
        match (unpacked, self.inflated.outcome, self.inflated.blob) {
            (Err(error), _, _) if !error.is_interruption() => Err(LayerProblem::Unpack(error)),
            (_, Err(error), _) if !matches!(error, InflateError::Unwanted) => Err(LayerProblem::Inflate(error)),
            (Ok((grown, archive)), Ok(()), Some(blob)) => Ok(Outcome { staged, grown, blob, archive }),
            _ => Err(LayerProblem::Lost),
        }
    }
}
