//! The per-pod process that keeps containers, their logs and exit codes alive while the daemon restarts: its wire
//! protocol, which the daemon uses as well, and its parts, which `main.rs` puts together.
//!
//! Read [`protocol`] first: it says what a shim does. [`shim`] is the event loop; [`start_state`], [`container_state`]
//! and [`exec_state`] are the tables that decide; `act/` does what they say.

mod act;
mod buffers;
mod connection;
mod container;
pub mod container_state;
mod deadlines;
pub mod exec_state;
pub mod exit_record;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod journal;
pub mod limits;
mod log_file;
pub mod log_line;
mod output;
mod poll;
pub mod protocol;
mod read_ahead;
mod refusal;
pub mod shim;
pub mod start_state;
pub mod startup;
mod streams;
pub mod wire;
