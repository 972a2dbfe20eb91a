//! The kernel, where rustix does not reach: every `unsafe` line of the project is in this crate.
//!
//! A function here is one system call with owned descriptors and an errno; what to do with it is decided elsewhere.

pub mod bpf;
pub mod durable;
pub mod errno;
pub mod heap;
pub mod inherited;
pub mod interface;
pub mod memfd;
pub mod mount;
pub mod namespace;
pub mod pidfd;
pub mod process;
pub mod random;
pub mod scheduling;
pub mod seqpacket;
pub mod signals;
pub mod single_threaded;
pub mod spawn;
pub mod text;
pub mod writes;

pub use single_threaded::SingleThreaded;
