//! The nouns of the runtime: identifiers, image references, failure classes, signals and the lifecycles of pods and
//! containers as pure functions.
//!
//! Nothing here does I/O, knows a path of the machine, a message of the CRI or an async runtime.

pub mod digest;
pub mod failure;
pub mod id;
pub mod lifecycle;
pub mod reference;
pub mod signal;
pub mod time;

pub use digest::Digest;
pub use failure::{Class, Classified, Failure};
pub use id::{ContainerId, PodId};
pub use reference::Reference;
pub use signal::Signal;
pub use time::Timestamp;
