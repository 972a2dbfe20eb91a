//! A pull: resolve, choose, fetch what is missing, record. Layers come in parallel; each is committed as it is finished,
//! so a pull that fails or is given up leaves the next try less to do.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cradle_domain::{Class, Classified, Digest, Reference};
use cradle_engine::ports::{Credentials, LayerProgress, LayerState, ProgressSink};
use cradle_engine::view::{ImageConfig, ImageView};
use rustix::fs::{CWD, Mode, openat};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::catalogue::Layer;
use super::database::{DatabaseError, NewImage};
use super::records::{ImageLayer, ImageRecord, ReferenceRecord};
use super::snapshot::key_of;
use super::{Inner, run_blocking};
use crate::flight::Lost;
use crate::limits::{CONFIG_MAX_BYTES, INDEX_DEPTH_MAX};
use crate::manifest::{
    ConfigError, Descriptor, Document, DocumentError, Manifest, choose, parse_config, parse_document,
};
use crate::pipeline::{Fetched, Identity, LayerError, LayerJob, LayerProblem, commit, digest_of, run};
use crate::progress::Board;
use crate::source::{Origin, Resolved, SourceError};
use crate::tree::{OPEN_FOLDER, TreeError, Union, Usage, settle};

/// An image that cannot be pulled.
#[derive(Debug, thiserror::Error)]
#[error("cannot pull {reference}")]
pub struct PullError {
    pub reference: Reference,
    #[source]
    pub problem: PullProblem,
}

/// Why an image cannot be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullProblem {
    #[error(transparent)]
    Source(SourceError),
    #[error("the manifest {digest} cannot be used")]
    Document { digest: Digest, source: DocumentError },
    #[error("the configuration {digest} cannot be used")]
    Config { digest: Digest, source: ConfigError },
    #[error("the configuration {promised} came with {got} bytes of the digest {actual}: it is damaged")]
    OtherConfig { promised: Digest, actual: Digest, got: u64 },
    #[error(transparent)]
    Layer(Shared<LayerError>),
    #[error("recording the image")]
    Record(#[source] DatabaseError),
    #[error(transparent)]
    Lost(Lost),
}

impl Classified for PullError {
    fn class(&self) -> Class {
        match &self.problem {
            PullProblem::Source(error) => error.class(),
            PullProblem::Document { source, .. } => source.class(),
            PullProblem::Config { source, .. } => source.class(),
            PullProblem::OtherConfig { .. } => Class::Corrupt,
            PullProblem::Layer(error) => error.class(),
            PullProblem::Record(error) => error.class(),
            PullProblem::Lost(_) => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match &self.problem {
            PullProblem::Source(error) => error.hint(),
            PullProblem::Document { source, .. } => source.hint(),
            PullProblem::Config { source, .. } => source.hint(),
            PullProblem::OtherConfig { .. } => Some("pull again; if it stays, push the image again".into()),
            PullProblem::Layer(error) => error.hint(),
            PullProblem::Record(error) => error.hint(),
            PullProblem::Lost(_) => None,
        }
    }
}

/// An error that several askers get.
pub struct Shared<E>(Arc<E>);

impl<E> Clone for Shared<E> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<E> From<E> for Shared<E> {
    fn from(error: E) -> Self {
        Shared(Arc::new(error))
    }
}

impl<E: fmt::Debug> fmt::Debug for Shared<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: fmt::Display> fmt::Display for Shared<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error> std::error::Error for Shared<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl<E: Classified> Classified for Shared<E> {
    fn class(&self) -> Class {
        self.0.class()
    }

    fn hint(&self) -> Option<String> {
        self.0.hint()
    }
}

/// What came of a pull, a layer and a settlement, for all who asked for it.
pub type PullOutcome = Result<Arc<ImageView>, Shared<PullError>>;
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

/// One pull under way.
struct Pull {
    store: Arc<Inner>,
    reference: Reference,
    credentials: Option<Credentials>,
    board: Arc<Board>,
}

/// What the documents say of an image.
struct Plan {
    id: Digest,
    /// The digest that the reference stands for.
    resolved: Digest,
    manifest: Manifest,
    config: Arc<ImageConfig>,
    config_bytes: u64,
    layers: Vec<ImageLayer>,
    /// From the one that was resolved to the configuration.
    documents: Vec<(Digest, Bytes)>,
    origin: Arc<dyn Origin>,
}

impl Inner {
    /// Pulls an image; askers of the same reference with the same credentials share one pull.
    pub async fn pull(
        self: Arc<Self>,
        reference: Reference,
        credentials: Option<Credentials>,
        watcher: Option<ProgressSink>,
    ) -> PullOutcome {
        let key = (reference.clone(), credentials.clone());
        let lost = PullError { reference: reference.clone(), problem: PullProblem::Lost(Lost) };
        let store = Arc::clone(&self);
        let start = |board| {
            let pull = Pull { store, reference, credentials, board };
            async move {
                let problem = |problem| Shared::from(PullError { reference: pull.reference.clone(), problem });
                pull.run().await.map_err(problem)
            }
        };
        let outcome = self.pulls.join(key, watcher, start).await;
        self.pulled.store(true, std::sync::atomic::Ordering::Relaxed);
        self.workshop.trash.wake();
        outcome.unwrap_or_else(|_lost| Err(lost.into()))
    }
}

impl Pull {
    async fn run(&self) -> Result<Arc<ImageView>, PullProblem> {
        let _permit = self.store.pull_permits.acquire().await;
        if let Some(view) = self.present().await? {
            return Ok(view);
        }
        let resolved = self.store.source.resolve(&self.reference, self.credentials.as_ref()).await;
        let resolved = resolved.map_err(PullProblem::Source)?;
        let resolved_digest = resolved.digest.clone();
        if let Some(view) = self.name_present(&resolved_digest).await? {
            return Ok(view);
        }
        let plan = self.plan(resolved).await?;
        let layers = self.fetch_layers(&plan).await?;
        let view = self.record(plan).await?;
        // Until here they were held: nothing named them.
        drop(layers);
        Ok(view)
    }

    /// The image, if nothing of it has to be fetched: by a digest that was pulled without credentials before, or by a tag
    /// of which the registry says that it still has a digest that is here. A digest that once needed credentials is
    /// resolved anew each time, so that the registry decides who may have it.
    async fn present(&self) -> Result<Option<Arc<ImageView>>, PullProblem> {
        if self.reference.digest().is_some() {
            let known = self.store.catalogue.reference(&key_of(&self.reference));
            let free = known.filter(|known| known.anonymous && self.credentials.is_none());
            return Ok(free.and_then(|known| self.view(&known.image)));
        }
        if !self.store.catalogue.knows_repository(&self.reference.name()) {
            return Ok(None);
        }
        match self.store.source.current_digest(&self.reference, self.credentials.as_ref()).await {
            Some(digest) => self.name_present(&digest).await,
            None => Ok(None),
        }
    }

    /// The image that this repository is known to have by that digest, with the reference recorded for it.
    async fn name_present(&self, digest: &Digest) -> Result<Option<Arc<ImageView>>, PullProblem> {
        let Some(known) = self.store.catalogue.reference(&self.reference.with_digest(digest)) else { return Ok(None) };
        let snapshot = self.store.catalogue.snapshot();
        let Some(image) = snapshot.by_id(&known.image) else { return Ok(None) };
        // A layer that vanished is noticed here, and the pull goes on to fetch it.
        if let Some(damaged) = image.stack.iter().find(|layer| !layer.is_whole()) {
            self.store.catalogue.mark_damaged(damaged);
            return Ok(None);
        }
        let references = self.references(digest, &known.image);
        let catalogue = Arc::clone(&self.store.catalogue);
        run_blocking(move || catalogue.add_references(references))
            .await
            .map_err(PullProblem::Lost)?
            .map_err(PullProblem::Record)?;
        Ok(self.view(&known.image))
    }

    fn view(&self, image: &Digest) -> Option<Arc<ImageView>> {
        self.store.catalogue.snapshot().by_id(image).map(|image| Arc::clone(&image.view))
    }

    /// The names under which the image is recorded: the tag, if that is what was asked for, and the digest it has.
    fn references(&self, digest: &Digest, image: &Digest) -> Vec<(String, ReferenceRecord)> {
        let record = ReferenceRecord { image: image.clone(), anonymous: self.credentials.is_none() };
        let by_digest = (self.reference.with_digest(digest), record.clone());
        match self.reference.digest() {
            Some(_) => vec![by_digest],
            None => vec![by_digest, (key_of(&self.reference), record)],
        }
    }

    /// Goes from index to manifest to configuration.
    async fn plan(&self, resolved: Resolved) -> Result<Plan, PullProblem> {
        let Resolved { digest: resolved, mut served, origin } = resolved;
        let mut digest = resolved.clone();
        let mut documents = Vec::new();
        for _ in 0..INDEX_DEPTH_MAX {
            let unusable = |source| PullProblem::Document { digest: digest.clone(), source };
            let document = parse_document(&served.bytes, served.media_type.as_deref()).map_err(unusable)?;
            documents.push((digest.clone(), served.bytes));
            let choices = match document {
                Document::Manifest(manifest) => {
                    return self.plan_manifest(resolved, manifest, documents, origin).await;
                }
                Document::Index(choices) => choices,
            };
            let chosen = choose(&choices, &self.store.platform).map_err(unusable)?;
            let next = chosen.descriptor.digest.clone();
            served = origin.manifest(&next).await.map_err(PullProblem::Source)?;
            digest = next;
        }
        Err(PullProblem::Document { digest, source: DocumentError::TooDeep })
    }

    async fn plan_manifest(
        &self,
        resolved: Digest,
        manifest: Manifest,
        mut documents: Vec<(Digest, Bytes)>,
        origin: Arc<dyn Origin>,
    ) -> Result<Plan, PullProblem> {
        let id = manifest.config.digest.clone();
        let bytes = self.config(&manifest.config, &origin).await?;
        let parsed = parse_config(&bytes, manifest.layers.len(), Some(&self.store.platform));
        let (config, diff_ids) = parsed.map_err(|source| PullProblem::Config { digest: id.clone(), source })?;
        let config_bytes = bytes.len() as u64;
        documents.push((id.clone(), bytes));
        let mut layers: Vec<ImageLayer> = Vec::with_capacity(diff_ids.len());
        for (diff_id, descriptor) in diff_ids.into_iter().zip(&manifest.layers) {
            let chain_id = chain_id(layers.last().map(|below| &below.chain_id), &diff_id);
            layers.push(ImageLayer { diff_id, chain_id, blob: descriptor.digest.clone() });
        }
        let config = Arc::new(config);
        Ok(Plan { id, resolved, manifest, config, config_bytes, layers, documents, origin })
    }

    /// The configuration's bytes: those here already, else from the source.
    async fn config(&self, config: &Descriptor, origin: &Arc<dyn Origin>) -> Result<Bytes, PullProblem> {
        let (catalogue, digest) = (Arc::clone(&self.store.catalogue), config.digest.clone());
        let known = run_blocking(move || catalogue.document(&digest)).await.map_err(PullProblem::Lost)?;
        if let Some(bytes) = known.map_err(PullProblem::Record)? {
            return Ok(bytes.into());
        }
        let mut blob = origin.blob(&config.digest, config.size).await.map_err(PullProblem::Source)?;
        loop {
            let mut bytes = Vec::new();
            while let Some(chunk) = blob.chunk().await.map_err(PullProblem::Source)? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() as u64 > config.size.min(CONFIG_MAX_BYTES) {
                    break;
                }
            }
            let actual = digest_of(&bytes);
            if actual == config.digest && bytes.len() as u64 == config.size {
                return Ok(bytes.into());
            }
            let Some(other) = blob.other_origin() else {
                let got = bytes.len() as u64;
                return Err(PullProblem::OtherConfig { promised: config.digest.clone(), actual, got });
            };
            blob = other.blob(&config.digest, config.size).await.map_err(PullProblem::Source)?;
        }
    }

    /// All layers of the image, the base first, each recorded.
    async fn fetch_layers(&self, plan: &Plan) -> Result<Vec<Arc<Layer>>, PullProblem> {
        let mut fetching: JoinSet<(usize, Result<Obtained, PullProblem>)> = JoinSet::new();
        let waiting = |at: usize| self.tell(plan, at, LayerState::Waiting, 0);
        (0..plan.layers.len()).for_each(waiting);
        for at in 0..plan.layers.len() {
            let obtained =
                obtain(Arc::clone(&self.store), plan.layers[at].clone(), job(plan, at), Arc::clone(&self.board));
            fetching.spawn(async move { (at, obtained.await) });
        }
        let mut outcomes: Vec<Option<Obtained>> = vec![None; plan.layers.len()];
        while let Some(joined) = fetching.join_next().await {
            // An error drops the set, which ends this pull's interest in the other layers.
            let (at, outcome) = joined.map_err(|_panicked| PullProblem::Lost(Lost))?;
            outcomes[at] = Some(outcome?);
        }
        let mut layers: Vec<Arc<Layer>> = Vec::with_capacity(outcomes.len());
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let layer = match outcome.ok_or(PullProblem::Lost(Lost))? {
                Obtained::Present(layer) => {
                    layers.push(layer);
                    continue;
                }
                Obtained::Ready(layer) => layer,
                Obtained::Dependent(fetched) => {
                    let settlement = Settlement {
                        store: Arc::clone(&self.store),
                        layer: plan.layers[at].clone(),
                        job: job(plan, at),
                        fetched,
                        below: layers.clone(),
                    };
                    settlement.join().await?
                }
            };
            self.tell(plan, at, LayerState::Done, plan.manifest.layers[at].size);
            layers.push(layer);
        }
        Ok(layers)
    }

    fn tell(&self, plan: &Plan, at: usize, state: LayerState, done_bytes: u64) {
        let descriptor = &plan.manifest.layers[at];
        let (layer, total_bytes) = (descriptor.digest.clone(), descriptor.size);
        self.board.publish(LayerProgress { layer, state, done_bytes, total_bytes });
    }

    async fn record(&self, plan: Plan) -> Result<Arc<ImageView>, PullProblem> {
        let image = NewImage {
            references: self.references(&plan.resolved, &plan.id),
            id: plan.id.clone(),
            record: ImageRecord {
                documents: plan.documents.iter().map(|(digest, _)| digest.clone()).collect(),
                layers: plan.layers,
            },
            documents: plan.documents,
        };
        let (catalogue, config, config_bytes) = (Arc::clone(&self.store.catalogue), plan.config, plan.config_bytes);
        run_blocking(move || catalogue.add_image(image, config, config_bytes))
            .await
            .map_err(PullProblem::Lost)?
            .map_err(PullProblem::Record)?;
        self.view(&plan.id).ok_or(PullProblem::Lost(Lost))
    }
}

fn job(plan: &Plan, at: usize) -> LayerJob {
    LayerJob {
        descriptor: plan.manifest.layers[at].clone(),
        diff_id: plan.layers[at].diff_id.clone(),
        origin: Arc::clone(&plan.origin),
    }
}

/// The id of a layer in its place (OCI image-spec, config.md, Layer ChainID).
fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => diff_id.clone(),
        Some(below) => Digest::from_sha256(Sha256::digest(format!("{below} {diff_id}")).into()),
    }
}

/// One layer: what is here, or what the flight of all who want it brings.
async fn obtain(
    store: Arc<Inner>,
    layer: ImageLayer,
    job: LayerJob,
    board: Arc<Board>,
) -> Result<Obtained, PullProblem> {
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
    outcome.map_err(PullProblem::Lost)?.map_err(PullProblem::Layer)
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
struct Settlement {
    store: Arc<Inner>,
    layer: ImageLayer,
    job: LayerJob,
    fetched: Arc<Mutex<Option<Fetched>>>,
    /// The base first.
    below: Vec<Arc<Layer>>,
}

impl Settlement {
    async fn join(self) -> Result<Arc<Layer>, PullProblem> {
        let flights = Arc::clone(&self.store.settlements);
        let chain_id = self.layer.chain_id.clone();
        let start = |board: Arc<Board>| async move { self.settle(&board).await.map_err(Shared::from) };
        flights.join(chain_id, None, start).await.map_err(PullProblem::Lost)?.map_err(PullProblem::Layer)
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
