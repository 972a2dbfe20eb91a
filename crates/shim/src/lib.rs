//! The per-pod process that keeps containers, their logs and exit codes alive while the daemon restarts: its wire
//! protocol, which the daemon uses as well, and its parts, which `main.rs` puts together.

pub mod protocol;
