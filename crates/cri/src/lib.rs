//! The gRPC edge of the CRI: one file per RPC under `runtime/` and `image/` (and under `cradle/`, for our own service
//! beside it), messages into domain types in `from_proto` and back in `to_proto`, failures into gRPC codes in `status`.
//!
//! The CRI's messages stop here: the engine and the image store know nothing of them. What an RPC means is decided
//! there; this crate reads, checks, asks and prints.

mod arrival;
mod batches;
mod cradle;
mod edge;
mod from_proto;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handlers;
mod image;
pub mod limits;
mod rpcs;
mod runtime;
mod service;
mod status;
mod to_proto;

pub use edge::{Edge, Facts};
pub use service::CriService;
