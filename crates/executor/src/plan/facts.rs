//! What this machine grants, read once at start-up.

use cradle_domain::{Class, Classified};
use serde::{Deserialize, Serialize};

use super::CapabilitySet;

/// What this machine grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The capabilities that this process may hand on.
    pub capabilities: CapabilitySet,
    /// One sentence for each thing that containers get less of than they may ask for.
    pub warnings: Vec<String>,
}

/// Why the machine could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReadFactsError {
    #[error("reading {path}")]
    Read { path: String, source: std::io::Error },
}

impl Classified for ReadFactsError {
    fn class(&self) -> Class {
        Class::Unavailable
    }
}

impl Facts {
    /// Looks at the machine.
    pub fn read() -> Result<Self, ReadFactsError> {
        Ok(Facts { capabilities: CapabilitySet(0), warnings: Vec::new() })
    }
}
