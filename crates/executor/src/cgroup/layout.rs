//! skeleton
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Layout {
    V1 { hierarchies: Arc<[PathBuf]> },
    V2 { root: Arc<PathBuf> },
}

#[derive(Debug, thiserror::Error)]
#[error("reading the layout of the control groups")]
pub struct LayoutError(#[source] std::io::Error);

impl cradle_domain::Classified for LayoutError {
    fn class(&self) -> cradle_domain::Class {
        cradle_domain::Class::Unavailable
    }
}

impl Layout {
    pub fn detect() -> Result<Layout, LayoutError> {
        unimplemented!()
    }
}
