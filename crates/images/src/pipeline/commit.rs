//! Stage 7: a verified layer becomes one that images may have.

use std::sync::Arc;

use cradle_domain::{Digest, Timestamp};

use super::run::{Fetched, LayerError, LayerProblem};
use super::unpack::Unpacked;
use crate::store::{Catalogue, Layer, LayerRecord, RootTime, Workshop};
use crate::tree::Usage;

/// By what a layer is known.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The digest of its archive.
    pub diff_id: Digest,
    /// The diff id of a layer that stands alone, else the chain id.
    pub key: Digest,
    /// Whether it is the same on top of any other layers.
    pub stands_alone: bool,
}

/// Makes a layer durable and records it. `settled` is the space it took beyond its own archive.
pub async fn commit(
    layer: Fetched,
    identity: Identity,
    settled: Usage,
    workshop: &Arc<Workshop>,
    catalogue: &Arc<Catalogue>,
) -> Result<Arc<Layer>, LayerError> {
    let digest = identity.diff_id.clone();
    let failed = |problem| LayerError { layer: digest.clone(), problem };
    let Unpacked { staged, grown, blob, since } = layer.into_inner();
    let blob_bytes = match blob {
        Some(blob) => tokio::task::spawn_blocking(move || blob.finish())
            .await
            .map_err(|_panicked| failed(LayerProblem::Lost))?
            .map_err(|error| failed(LayerProblem::Stage(error)))?,
        None => 0,
    };
    workshop.syncer.sync(since).await.map_err(|e| failed(LayerProblem::Sync(e)))?;
    let record = LayerRecord {
        number: staged.number(),
        diff_id: identity.diff_id,
        form: workshop.form,
        stands_alone: identity.stands_alone,
        bytes: grown.usage.bytes + settled.bytes + blob_bytes,
        inodes: grown.usage.inodes + settled.inodes,
        root: grown.root,
        root_time: RootTime::of(staged.root()).map_err(|e| failed(LayerProblem::Stage(e)))?,
        committed_at: Timestamp::now(),
    };
    let catalogue = Arc::clone(catalogue);
    let recorded = tokio::task::spawn_blocking(move || {
        let layer = catalogue.add_layer(identity.key, record)?;
        staged.committed();
        Ok(layer)
    });
    match recorded.await {
        Ok(result) => result.map_err(|error| failed(LayerProblem::Record(error))),
        Err(_panicked) => Err(failed(LayerProblem::Lost)),
    }
}
