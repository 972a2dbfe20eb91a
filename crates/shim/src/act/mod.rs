//! What the shim does when something happens, one file for each thing that it deals with.

mod attach;
mod connect;
mod containers;
pub(crate) mod dial;
mod execs;
mod output;
mod reap;
mod requests;
mod set_up;
mod shut_down;
pub(crate) mod start;
