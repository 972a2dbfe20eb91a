//! WebSocket (RFC 6455) as Kubernetes uses it: messages that begin with the number of a channel, or messages that are
//! together one stream of bytes, on which SPDY is spoken. The framing is tokio-websockets'.

pub(crate) mod channels;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub(crate) mod tunnel;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_websockets::{Limits, ServerBuilder, WebSocketStream};

use crate::limits::WEBSOCKET_MESSAGE_MAX_BYTES;
use crate::socket::Connection;

pub(crate) use channels::ChannelError;

/// What a server's answer is made with (RFC 6455, section 1.3).
const ACCEPT_SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer to a client's `Sec-WebSocket-Key`.
pub(crate) fn accept_key(key: &str) -> String {
    let text = format!("{key}{ACCEPT_SALT}");
    STANDARD.encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// WebSocket over a connection whose upgrade is done.
fn serve(connection: Connection) -> WebSocketStream<Connection> {
    let limits = Limits::default().max_payload_len(Some(WEBSOCKET_MESSAGE_MAX_BYTES));
    ServerBuilder::new().limits(limits).serve(connection)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_key_of_the_standards_example_is_answered() {
        assert_eq!(super::accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
