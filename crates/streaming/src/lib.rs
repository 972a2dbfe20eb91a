//! Exec, attach and port-forward: the HTTP server whose URLs the CRI hands out, and what is spoken on its connections.
//!
//! An RPC leaves its request here and answers with a URL, good once and for a minute ([`Urls`]). The client's connection
//! to that URL is upgraded (`http`, `negotiation`) to SPDY (`spdy`) or WebSocket (`websocket`); `carrier` makes these the
//! same for what is done with their streams: `remote_command` for exec and attach, `port_forward`.
//!
//! The engine gives the ends of a process's pipes or terminal, or of a connection into the pod. Bytes go between those
//! and the client's connection through one buffer, which is held only while there is something in it. The container's
//! own output never passes here: whoever attaches gets a copy from the pod's shim.

mod activity;
mod buffers;
mod carrier;
mod descriptor;
mod flag;
mod half_open;
mod http;
pub mod limits;
mod negotiation;
mod port_forward;
mod remote_command;
mod request;
mod server;
mod session;
mod socket;
mod spdy;
mod tls;
mod tokens;
mod websocket;

/// The fuzz targets (tests/fuzz).
#[cfg(fuzzing)]
pub mod fuzz {
    pub use crate::negotiation::fuzz::request;
    pub use crate::spdy::fuzz::spdy;
    pub use crate::websocket::fuzz::websocket;
}

pub use request::{Request, Wanted};
pub use server::{BindError, Config, Server, Urls};
pub use tls::{CertificateError, CertificateFiles};
