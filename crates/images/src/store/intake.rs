//! Taking an image in, from a registry or an archive: from its manifest to what is to be fetched, fetch what is missing,
//! record. Layers come in parallel; each is committed as it is finished, so an intake that fails or is given up leaves the
//! next try less to do.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cradle_domain::{Class, Classified, Digest};
use cradle_engine::ports::{LayerProgress, LayerState};
use cradle_engine::view::{ImageConfig, ImageView};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::catalogue::Layer;
use super::database::{DatabaseError, NewImage};
use super::obtain::{Obtained, Settlement, obtain};
use super::records::{ImageLayer, ImageRecord, ReferenceRecord};
use super::{Inner, run_blocking};
use crate::flight::Lost;
use crate::limits::{CONFIG_MAX_BYTES, INDEX_DEPTH_MAX};
use crate::manifest::{
    ConfigError, Descriptor, Document, DocumentError, ImageKind, LayerContent, LayerDescriptor, Manifest, choose,
    parse_config, parse_document,
};
use crate::pipeline::{LayerError, LayerJob, digest_of};
use crate::progress::Board;
use crate::source::{Origin, Resolved, SourceError};

/// Why an image cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeProblem {
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

impl Classified for IntakeProblem {
    fn class(&self) -> Class {
        match self {
            IntakeProblem::Source(error) => error.class(),
            IntakeProblem::Document { source, .. } => source.class(),
            IntakeProblem::Config { source, .. } => source.class(),
            IntakeProblem::OtherConfig { .. } => Class::Corrupt,
            IntakeProblem::Layer(error) => error.class(),
            IntakeProblem::Record(error) => error.class(),
            IntakeProblem::Lost(_) => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            IntakeProblem::Source(error) => error.hint(),
            IntakeProblem::Document { source, .. } => source.hint(),
            IntakeProblem::Config { source, .. } => source.hint(),
            IntakeProblem::OtherConfig { .. } => Some("pull again; if it stays, push the image again".into()),
            IntakeProblem::Layer(error) => error.hint(),
            IntakeProblem::Record(error) => error.hint(),
            IntakeProblem::Lost(_) => None,
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

/// The way of one image into the store.
pub struct Intake {
    pub store: Arc<Inner>,
    /// Told of the layers' progress.
    pub board: Arc<Board>,
}

/// What the documents say of an image.
struct Plan {
    id: Digest,
    manifest: Manifest,
    config: Arc<ImageConfig>,
    config_bytes: u64,
    layers: Vec<ImageLayer>,
    /// From the one that was resolved to the configuration.
    documents: Vec<(Digest, Bytes)>,
    origin: Arc<dyn Origin>,
}

impl Intake {
    /// Takes in what was resolved, under the names that `references` gives the image of that id.
    pub async fn take_in(
        &self,
        resolved: Resolved,
        references: impl FnOnce(&Digest) -> Vec<(String, ReferenceRecord)> + Send,
    ) -> Result<Arc<ImageView>, IntakeProblem> {
        let plan = self.plan(resolved).await?;
        let layers = self.fetch_layers(&plan).await?;
        let references = references(&plan.id);
        let view = self.record(plan, references).await?;
        // Until here they were held: nothing named them.
        drop(layers);
        Ok(view)
    }

    /// The image, if it is listed.
    pub fn view(&self, image: &Digest) -> Option<Arc<ImageView>> {
        self.store.catalogue.snapshot().by_id(image).map(|image| Arc::clone(&image.view))
    }

    /// Goes from index to manifest to configuration.
    async fn plan(&self, resolved: Resolved) -> Result<Plan, IntakeProblem> {
        let Resolved { mut digest, mut served, origin } = resolved;
        let mut documents = Vec::new();
        for _ in 0..INDEX_DEPTH_MAX {
            let unusable = |source| IntakeProblem::Document { digest: digest.clone(), source };
            let document = parse_document(&served.bytes, served.media_type.as_deref()).map_err(unusable)?;
            documents.push((digest.clone(), served.bytes));
            let choices = match document {
                Document::Manifest(manifest) if manifest.kind == ImageKind::Artifact => {
                    return Ok(plan_artifact(digest, manifest, documents, origin));
                }
                Document::Manifest(manifest) => {
                    return self.plan_manifest(manifest, documents, origin).await;
                }
                Document::Index(choices) => choices,
            };
            let chosen = choose(&choices, &self.store.platform).map_err(unusable)?;
            let next = chosen.descriptor.digest.clone();
            served = origin.manifest(&next).await.map_err(IntakeProblem::Source)?;
            digest = next;
        }
        Err(IntakeProblem::Document { digest, source: DocumentError::TooDeep })
    }

    async fn plan_manifest(
        &self,
        manifest: Manifest,
        mut documents: Vec<(Digest, Bytes)>,
        origin: Arc<dyn Origin>,
    ) -> Result<Plan, IntakeProblem> {
        let id = manifest.config.digest.clone();
        let bytes = self.config(&manifest.config, &origin).await?;
        let parsed = parse_config(&bytes, manifest.layers.len(), Some(&self.store.platform));
        let (config, diff_ids) = parsed.map_err(|source| IntakeProblem::Config { digest: id.clone(), source })?;
        let config_bytes = bytes.len() as u64;
        documents.push((id.clone(), bytes));
        let mut layers: Vec<ImageLayer> = Vec::with_capacity(diff_ids.len());
        for (diff_id, descriptor) in diff_ids.into_iter().zip(&manifest.layers) {
            let chain_id = chain_id(layers.last().map(|below| &below.chain_id), &diff_id);
            layers.push(ImageLayer { diff_id, chain_id, blob: descriptor.digest.clone() });
        }
        let config = Arc::new(config);
        Ok(Plan { id, manifest, config, config_bytes, layers, documents, origin })
    }

    /// The configuration's bytes: those here already, else from the source.
    async fn config(&self, config: &Descriptor, origin: &Arc<dyn Origin>) -> Result<Bytes, IntakeProblem> {
        let (catalogue, digest) = (Arc::clone(&self.store.catalogue), config.digest.clone());
        let known = run_blocking(move || catalogue.document(&digest)).await.map_err(IntakeProblem::Lost)?;
        if let Some(bytes) = known.map_err(IntakeProblem::Record)? {
            return Ok(bytes.into());
        }
        let mut blob = origin.blob(&config.digest, config.size).await.map_err(IntakeProblem::Source)?;
        loop {
            let mut bytes = Vec::new();
            while let Some(chunk) = blob.chunk().await.map_err(IntakeProblem::Source)? {
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
                return Err(IntakeProblem::OtherConfig { promised: config.digest.clone(), actual, got });
            };
            blob = other.blob(&config.digest, config.size).await.map_err(IntakeProblem::Source)?;
        }
    }

    /// All layers of the image, the base first, each recorded.
    async fn fetch_layers(&self, plan: &Plan) -> Result<Vec<Arc<Layer>>, IntakeProblem> {
        let mut fetching: JoinSet<(usize, Result<Obtained, IntakeProblem>)> = JoinSet::new();
        let waiting = |at: usize| self.tell(plan, at, LayerState::Waiting, 0);
        (0..plan.layers.len()).for_each(waiting);
        for at in 0..plan.layers.len() {
            let obtained =
                obtain(Arc::clone(&self.store), plan.layers[at].clone(), job(plan, at), Arc::clone(&self.board));
            fetching.spawn(async move { (at, obtained.await) });
        }
        let mut outcomes: Vec<Option<Obtained>> = vec![None; plan.layers.len()];
        let mut layers: Vec<Arc<Layer>> = Vec::with_capacity(plan.layers.len());
        while let Some(joined) = fetching.join_next().await {
            // An error drops the set, which ends this pull's interest in the other layers.
            let (at, outcome) = joined.map_err(|_panicked| IntakeProblem::Lost(Lost))?;
            let obtained = outcome?;
            self.store.counters.add_layer(&obtained);
            if matches!(obtained, Obtained::Ready(_)) {
                self.tell(plan, at, LayerState::Done, plan.manifest.layers[at].size);
            }
            outcomes[at] = Some(obtained);
            // Those all of whose layers below are there. The others go on coming meanwhile.
            while let Some(obtained) = outcomes.get_mut(layers.len()).and_then(Option::take) {
                let layer = self.put_upon(plan, &layers, obtained).await?;
                layers.push(layer);
            }
        }
        if layers.len() == plan.layers.len() { Ok(layers) } else { Err(IntakeProblem::Lost(Lost)) }
    }

    /// A layer of the image as it is upon those `below` it.
    async fn put_upon(
        &self,
        plan: &Plan,
        below: &[Arc<Layer>],
        obtained: Obtained,
    ) -> Result<Arc<Layer>, IntakeProblem> {
        let fetched = match obtained {
            Obtained::Present(layer) | Obtained::Ready(layer) => return Ok(layer),
            Obtained::Dependent(fetched) => fetched,
        };
        let at = below.len();
        let settlement = Settlement {
            store: Arc::clone(&self.store),
            layer: plan.layers[at].clone(),
            job: job(plan, at),
            fetched,
            below: below.to_vec(),
        };
        let layer = settlement.join().await?;
        self.tell(plan, at, LayerState::Done, plan.manifest.layers[at].size);
        Ok(layer)
    }

    fn tell(&self, plan: &Plan, at: usize, state: LayerState, done_bytes: u64) {
        let descriptor = &plan.manifest.layers[at];
        let (layer, total_bytes) = (descriptor.digest.clone(), descriptor.size);
        self.board.publish(LayerProgress { layer, state, done_bytes, total_bytes });
    }

    async fn record(
        &self,
        plan: Plan,
        references: Vec<(String, ReferenceRecord)>,
    ) -> Result<Arc<ImageView>, IntakeProblem> {
        let image = NewImage {
            references,
            id: plan.id.clone(),
            record: ImageRecord {
                kind: plan.manifest.kind,
                documents: plan.documents.iter().map(|(digest, _)| digest.clone()).collect(),
                layers: plan.layers,
            },
            documents: plan.documents,
        };
        let (catalogue, config, config_bytes) = (Arc::clone(&self.store.catalogue), plan.config, plan.config_bytes);
        run_blocking(move || catalogue.add_image(image, config, config_bytes))
            .await
            .map_err(IntakeProblem::Lost)?
            .map_err(IntakeProblem::Record)?;
        self.view(&plan.id).ok_or(IntakeProblem::Lost(Lost))
    }
}

/// An artifact has no configuration, and its layers go by what they bring.
fn plan_artifact(id: Digest, manifest: Manifest, documents: Vec<(Digest, Bytes)>, origin: Arc<dyn Origin>) -> Plan {
    let mut layers: Vec<ImageLayer> = Vec::with_capacity(manifest.layers.len());
    for LayerDescriptor { digest, content, .. } in &manifest.layers {
        let named = match content {
            LayerContent::File(name) => format!("artifact file {name} {digest}"),
            LayerContent::Archive | LayerContent::Layer => format!("artifact archive {digest}"),
        };
        let diff_id = digest_of(named.as_bytes());
        let chain_id = chain_id(layers.last().map(|below| &below.chain_id), &diff_id);
        layers.push(ImageLayer { diff_id, chain_id, blob: digest.clone() });
    }
    let config_bytes = documents.last().map_or(0, |(_, manifest)| manifest.len() as u64);
    Plan { id, manifest, config: Arc::default(), config_bytes, layers, documents, origin }
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
