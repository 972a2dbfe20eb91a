//! A pull: resolve a reference, unless what it names is here; then take the image in.

use std::sync::Arc;

use cradle_domain::{Class, Classified, Digest, Reference};
use cradle_engine::ports::{Credentials, ProgressSink};
use cradle_engine::view::ImageView;

use super::intake::{Intake, IntakeProblem, Shared};
use super::records::ReferenceRecord;
use super::snapshot::key_of;
use super::{Inner, run_blocking};
use crate::flight::Lost;

/// An image that cannot be pulled.
#[derive(Debug, thiserror::Error)]
#[error("cannot pull {reference}")]
pub struct PullError {
    pub reference: Reference,
    #[source]
    pub problem: IntakeProblem,
}

impl Classified for PullError {
    fn class(&self) -> Class {
        self.problem.class()
    }

    fn hint(&self) -> Option<String> {
        self.problem.hint()
    }
}

/// What came of a pull, for all who asked for it.
pub type PullOutcome = Result<Arc<ImageView>, Shared<PullError>>;

/// One pull under way.
struct Pull {
    intake: Intake,
    reference: Reference,
    credentials: Option<Credentials>,
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
        let lost = PullError { reference: reference.clone(), problem: IntakeProblem::Lost(Lost) };
        let store = Arc::clone(&self);
        let start = |board| {
            let pull = Pull { intake: Intake { store, board }, reference, credentials };
            async move {
                let problem = |problem| Shared::from(PullError { reference: pull.reference.clone(), problem });
                let counting = pull.intake.store.counters.begin();
                let outcome = pull.run().await.map_err(problem);
                counting.end(&outcome);
                outcome
            }
        };
        let outcome = self.pulls.join(key, watcher, start).await;
        self.pulled.store(true, std::sync::atomic::Ordering::Relaxed);
        self.workshop.trash.wake();
        outcome.unwrap_or_else(|_lost| Err(lost.into()))
    }
}

impl Pull {
    async fn run(&self) -> Result<Arc<ImageView>, IntakeProblem> {
        let _permit = self.intake.store.pull_permits.acquire().await;
        if let Some(view) = self.present().await? {
            return Ok(view);
        }
        let resolved = self.intake.store.source.resolve(&self.reference, self.credentials.as_ref()).await;
        let resolved = self.intake.store.counters.count(resolved.map_err(IntakeProblem::Source)?);
        let resolved_digest = resolved.digest.clone();
        if let Some(view) = self.name_present(&resolved_digest).await? {
            return Ok(view);
        }
        self.intake.take_in(resolved, |image| self.references(&resolved_digest, image)).await
    }

    /// The image, if nothing of it has to be fetched: by a digest that was pulled without credentials before, or by a tag
    /// of which the registry says that it still has a digest that is here. A digest that once needed credentials is
    /// resolved anew each time, so that the registry decides who may have it.
    async fn present(&self) -> Result<Option<Arc<ImageView>>, IntakeProblem> {
        if self.reference.digest().is_some() {
            let known = self.intake.store.catalogue.reference(&key_of(&self.reference));
            let free = known.filter(|known| known.anonymous && self.credentials.is_none());
            return Ok(free.and_then(|known| self.intake.view(&known.image)));
        }
        if !self.intake.store.catalogue.knows_repository(&self.reference.name()) {
            return Ok(None);
        }
        match self.intake.store.source.current_digest(&self.reference, self.credentials.as_ref()).await {
            Some(digest) => self.name_present(&digest).await,
            None => Ok(None),
        }
    }

    /// The image that this repository is known to have by that digest, with the reference recorded for it.
    async fn name_present(&self, digest: &Digest) -> Result<Option<Arc<ImageView>>, IntakeProblem> {
        let Some(known) = self.intake.store.catalogue.reference(&self.reference.with_digest(digest)) else {
            return Ok(None);
        };
        let snapshot = self.intake.store.catalogue.snapshot();
        let Some(image) = snapshot.by_id(&known.image) else { return Ok(None) };
        // A layer that vanished is noticed here, and the pull goes on to fetch it.
        if let Some(damaged) = image.stack.iter().find(|layer| !layer.is_whole()) {
            self.intake.store.catalogue.mark_damaged(damaged);
            return Ok(None);
        }
        let references = self.references(digest, &known.image);
        let catalogue = Arc::clone(&self.intake.store.catalogue);
        run_blocking(move || catalogue.add_references(references))
            .await
            .map_err(IntakeProblem::Lost)?
            .map_err(IntakeProblem::Record)?;
        Ok(self.intake.view(&known.image))
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
}
