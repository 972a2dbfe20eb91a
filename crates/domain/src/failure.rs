//! What went wrong, as far as its handling depends on it: a class, a chain of causes and a hint.
//!
//! Each operation has an error enum of its own that implements [`Classified`]; where errors of many operations meet
//! (the ports of the engine), they travel as a [`Failure`]. `crates/cri/src/status.rs` alone turns classes into gRPC
//! codes.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// How a caller must deal with a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Class {
    /// The thing named by the request does not exist.
    NotFound,
    /// The request can never succeed as it stands (bad input).
    Invalid,
    /// The request is well formed, but not in this state of the object.
    Refused,
    /// Another object holds the name or key with different properties.
    Conflict,
    /// The peer lacks a permission or its credentials were not accepted.
    Denied,
    /// Something else has it at the moment; trying again later may succeed.
    Busy,
    /// A registry, network or other service did not answer as it should; trying again later may succeed.
    Unavailable,
    /// Out of space, addresses, processes, memory or descriptors.
    Exhausted,
    /// A bound on time was reached; the work was given up or goes on behind.
    Deadline,
    /// Data on disk or from a registry is damaged.
    Corrupt,
    /// The request names something that is not built yet.
    Unimplemented,
    /// A defect of ours or something that the kernel should not have done.
    Bug,
}

/// An error that knows its class and, where there is one, what its reader can do about it.
pub trait Classified: Error + Send + Sync + 'static {
    /// How a caller must deal with it.
    fn class(&self) -> Class;

    /// What the reader can do, as a whole sentence; shown after the chain of causes.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// A failure of any operation: its class, its hint and the chain of what happened. It is shared by all who wait for the
/// same work.
#[derive(Debug, Clone)]
pub struct Failure {
    class: Class,
    hint: Option<String>,
    source: Arc<dyn Error + Send + Sync>,
}

impl Failure {
    /// A failure that has no error type of its own.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Failure { class, hint: None, source: Arc::new(Plain { message: message.into(), cause: None }) }
    }

    /// The same failure with `what` put before it: "`what`: cause".
    #[must_use]
    pub fn context(self, what: impl Into<String>) -> Self {
        let Failure { class, hint, source } = self;
        Failure { class, hint, source: Arc::new(Plain { message: what.into(), cause: Some(source) }) }
    }

    /// The same failure with a hint for its reader.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure { class: error.class(), hint: error.hint(), source: Arc::new(error) }
    }
}

/// Prints the whole chain, "what: why: why", and the hint in brackets: this is what the pod's owner reads.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Chain(self.source.as_ref()))?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Prints an error and its sources, separated by colons.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Plain {
    message: String,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Plain {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_prints_its_chain_and_its_hint() {
        let failure = Failure::new(Class::Unavailable, "connection refused")
            .context("pulling docker.io/library/nginx:latest")
            .with_hint("is the registry up?");
        assert_eq!(
            failure.to_string(),
            "pulling docker.io/library/nginx:latest: connection refused (is the registry up?)"
        );
        assert_eq!(failure.class(), Class::Unavailable);
    }
}
