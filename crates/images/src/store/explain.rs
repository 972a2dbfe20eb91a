//! Whom a pull would ask, in words.

use cradle_domain::{Class, Classified, Reference};
use cradle_engine::ports::Credentials;

use super::Inner;
use crate::source::SourceError;

/// A pull that cannot be explained: what says whom to ask cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell whom a pull of {reference} would ask")]
pub struct ExplainError {
    reference: Reference,
    source: SourceError,
}

impl Classified for ExplainError {
    fn class(&self) -> Class {
        self.source.class()
    }

    fn hint(&self) -> Option<String> {
        self.source.hint()
    }
}

impl Inner {
    pub(super) async fn explain(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<String, ExplainError> {
        let explained = self.source.explain(reference, credentials).await;
        explained.map_err(|source| ExplainError { reference: reference.clone(), source })
    }
}
