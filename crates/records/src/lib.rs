//! The records of pods and containers on disk, and their versions. What a state means is the engine's business.
//!
//! ```text
//! <state>/boot                         the boot id of the life that the records describe
//! <state>/pods/<pod>/pod               one pod's record
//! <state>/pods/<pod>/containers/<id>   one container's record
//! <state>/pods/<pod>/…                 the pod's own files and its shim's, removed with it
//! <state>/damaged/…                    records that could not be read
//! ```
//!
//! A record is a header line (`cradle <kind> <version> <checksum>`) and JSON, so that a person can read it at night. It
//! describes processes, which a reboot ends: replacing it by a rename is enough, nothing is synced (decision 0003).

mod form;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod store;

pub use store::{OpenError, Store};
