//! One layer on its way from a source to the store, each stage in a file of its own:
//!
//! ```text
//! fetch ──▶ verify (blob) ──▶ decompress ──▶ verify (archive) ──▶ unpack ──▶ sync ──▶ commit
//! └ async ┘ └────── one thread ────────────┘ └────── one thread ─────────┘
//! ```
//!
//! Stages run at the same time and pass pieces of the stream through bounded channels, so a layer is read once, never
//! stored twice, and costs little memory whatever its size. Two threads a layer balance: inflating takes about as long as
//! hashing and writing what comes out. Nothing is believed before the stream's end, when both digests are known: until
//! then the files lie in a folder that no record names.
//!
//! Invariant: nothing unverified is committed. `commit` takes a [`Verified`], which only the verify stage makes.

mod commit;
mod decompress;
mod fetch;
mod keep;
mod pack;
mod pieces;
mod run;
mod stage;
mod sync;
#[cfg(test)]
mod tests;
mod unpack;
mod verify;

pub use commit::{Identity, commit};
pub use decompress::sniff;
pub use pieces::{Piece, Pieces};
pub use run::{Fetched, LayerError, LayerJob, LayerProblem, run};
pub use stage::Staged;
pub use sync::Syncer;
pub use verify::digest_of;
