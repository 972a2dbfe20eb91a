//! One layer for an image: what is here, or what the flight of all who want it brings; and layers that take something of
//! those below, settled upon them.

use std::sync::{Arc, Mutex, PoisonError};

use cradle_engine::ports::{LayerProgress, LayerState, ProgressSink};
use rustix::fs::{CWD, Mode, openat};

use super::catalogue::Layer;
use super::intake::{IntakeProblem, Shared};
use super::records::ImageLayer;
use super::{Inner, run_blocking};
use crate::flight::Lost;
use crate::pipeline::{Fetched, Identity, LayerError, LayerJob, LayerProblem, commit, run};
use crate::progress::Board;
use crate::tree::{OPEN_FOLDER, TreeError, Union, Usage, settle};

/// What came of a layer and a settlement, for all who asked for it.
pub type LayerOutcome = Result<Obtained, Shared<LayerError>>;
pub type SettlementOutcome = Result<Arc<Layer>, Shared<LayerError>>;

/// A layer that was got.
#[derive(Clone)]
pub enum Obtained {
    /// It was here.
    Present(Arc<Layer>),
    Ready(Arc<Layer>),
    /// It takes something of the layers below (see `tree`, Dependence). The first pull that knows them takes it over.
    Dependent(Arc<Mutex<Option<Fetched>>>),
}

/// One layer: what is here, or what the flight of all who want it brings.
pub async fn obtain(
    store: Arc<Inner>,
    layer: ImageLayer,
    job: LayerJob,
    board: Arc<Board>,
) -> Result<Obtained, IntakeProblem> {
    let (digest, total_bytes) = (job.descriptor.digest.clone(), job.descriptor.size);
    if let Some(present) = store.catalogue.layer(&layer) {
        let progress =
            LayerProgress { layer: digest, state: LayerState::Present, done_bytes: total_bytes, total_bytes };
        board.publish(progress);
        return Ok(Obtained::Present(present));
    }
    // The flight may be that of another blob with the same archive in it.
    let watcher: ProgressSink =
        Arc::new(move |progress| board.publish(LayerProgress { layer: digest.clone(), ..progress }));
    let flights = Arc::clone(&store.layers);
    let outcome = flights.join(layer.diff_id.clone(), Some(watcher), |board| fetch_layer(store, job, board)).await;
    outcome.map_err(IntakeProblem::Lost)?.map_err(IntakeProblem::Layer)
}

async fn fetch_layer(store: Arc<Inner>, job: LayerJob, board: Arc<Board>) -> LayerOutcome {
    let fetched = run_permitted(&store, &job, &board).await?;
    if !fetched.get().grown.dependence.is_none() {
        return Ok(Obtained::Dependent(Arc::new(Mutex::new(Some(fetched)))));
    }
    let identity = Identity { key: job.diff_id.clone(), diff_id: job.diff_id, stands_alone: true };
    let layer = commit(fetched, identity, Usage::default(), &store.workshop, &store.catalogue).await?;
    Ok(Obtained::Ready(layer))
}

/// Runs the pipeline when there is room for one more. The permit is given back before anything else is waited for.
async fn run_permitted(store: &Arc<Inner>, job: &LayerJob, board: &Board) -> Result<Fetched, LayerError> {
    let _permit = store.workshop.permits.acquire().await;
    run(job, &store.workshop, board).await
}

/// Puts a dependent layer upon those below. Of several pulls that have it in the same place one does so; those that have
/// it in another place fetch it for themselves.
pub struct Settlement {
    pub store: Arc<Inner>,
    pub layer: ImageLayer,
    pub job: LayerJob,
    pub fetched: Arc<Mutex<Option<Fetched>>>,
    /// The base first.
    pub below: Vec<Arc<Layer>>,
}

impl Settlement {
    pub async fn join(self) -> Result<Arc<Layer>, IntakeProblem> {
        let flights = Arc::clone(&self.store.settlements);
        let chain_id = self.layer.chain_id.clone();
        let start = |board: Arc<Board>| async move { self.settle(&board).await.map_err(Shared::from) };
        flights.join(chain_id, None, start).await.map_err(IntakeProblem::Lost)?.map_err(IntakeProblem::Layer)
    }

    async fn settle(self, board: &Board) -> Result<Arc<Layer>, LayerError> {
        let Settlement { store, layer, job, fetched, below } = self;
        let failed = |problem| LayerError { layer: layer.diff_id.clone(), problem };
        if let Some(present) = store.catalogue.layer(&layer) {
            return Ok(present);
        }
        let taken = fetched.lock().unwrap_or_else(PoisonError::into_inner).take();
        let fetched = match taken {
            Some(fetched) => fetched,
            None => run_permitted(&store, &job, board).await?,
        };
        let settling = run_blocking(move || settle_upon(&below, fetched)).await;
        let settled = settling.map_err(|Lost| failed(LayerProblem::Lost))?;
        let (fetched, usage) = settled.map_err(|error| failed(LayerProblem::Settle(error)))?;
        let identity = Identity { diff_id: layer.diff_id.clone(), key: layer.chain_id.clone(), stands_alone: false };
        commit(fetched, identity, usage, &store.workshop, &store.catalogue).await
    }
}

fn settle_upon(below: &[Arc<Layer>], fetched: Fetched) -> Result<(Fetched, Usage), TreeError> {
    let open = |layer: &Arc<Layer>| {
        openat(CWD, &layer.path, OPEN_FOLDER, Mode::empty()).map_err(|errno| TreeError::System {
            act: "opening the layer below",
            entry: layer.path.display().to_string(),
            source: errno.into(),
        })
    };
    let union = Union::new(below.iter().rev().map(open).collect::<Result<_, _>>()?);
    let unpacked = fetched.get();
    let usage = settle(unpacked.staged.root(), &unpacked.grown.dependence, &union)?;
    Ok((fetched, usage))
}
