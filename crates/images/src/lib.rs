//! Images: fetched from registries, verified, unpacked and kept, and lent to containers as layers.
//!
//! | Folder | Concept |
//! |---|---|
//! | `manifest` | indexes, manifests and configurations: reading and choosing, without I/O |
//! | `pipeline` | one layer: fetch → verify → decompress → verify → unpack → sync → commit |
//! | `tar` | the archive format, without I/O of its own |
//! | `tree` | an archive's files beneath a directory handle, in overlayfs' form |
//! | `archive` | archives of images: reading and writing |
//! | `store` | what there is, on disk and in memory; pulls; containers' layers; garbage |
//!
//! `flight` lets askers of the same thing share the work, `progress` tells them how far it is, `source` is where images
//! come from, `tee` hashes or keeps what streams by. It leaves HTTP to `cradle-registry` and mounting to the executor.

mod archive;
mod flight;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod limits;
mod manifest;
mod pipeline;
mod progress;
pub mod source;
mod store;
mod tar;
mod tee;
mod tree;

pub use manifest::Platform;
pub use store::{OpenError, Overlays, Store, StoreConfig};
