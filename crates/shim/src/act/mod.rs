//! What the shim does when something happens, one file for each thing that it deals with.

mod connect;
mod containers;
pub(crate) mod dial;
mod execs;
mod reap;
mod requests;
mod shut_down;
mod start;
