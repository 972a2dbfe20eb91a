//! SPDY/3.1 as the kubelet, crictl and kubectl speak it, from its draft 3.1: many streams on one connection, each of them
//! closed by its two ends apart.
//!
//! ```text
//! frame       control: 1|version:15  type:16          | flags:8 length:24 | payload
//!             data:    0|stream:31                     | flags:8 length:24 | payload
//! headers     count:32 { length:32 name length:32 value }…   compressed with zlib over the whole connection
//! ```
//!
//! `frame` turns bytes into frames and back, `connection` checks their order; neither reads nor writes, so that both can
//! be fed with anything. `link` moves the bytes.
//!
//! Nobody who speaks SPDY with us uses its windows: a client takes what comes, and waits for nothing. Flow control is
//! TCP's. So frames about windows and settings are checked and let pass.

mod connection;
mod dictionary;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod headers;
mod link;

pub(crate) use connection::ProtocolError;
pub(crate) use headers::Headers;
pub(crate) use link::{Reader, Writer};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
