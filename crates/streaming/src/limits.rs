//! Every bound of the streaming server, by name (invariant 11).

use std::time::Duration;

/// URLs that wait for their client.
pub const TOKENS_MAX: usize = 1000;
/// Until a URL that nobody has used is worth nothing.
pub const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Random bytes of a URL's token.
pub const TOKEN_BYTES: usize = 24;

/// A session in which nothing moves for so long is ended; the operator may choose otherwise.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);
/// From the upgrade of a connection until the client has opened the streams that it must open. As before.
pub const STREAM_CREATION_TIMEOUT: Duration = Duration::from_secs(30);
/// From a connection until its TLS handshake, and from there until its request is complete. As before.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections whose request is not complete; for more, the oldest give way.
pub const HALF_OPEN_MAX: usize = 128;
/// Sessions at a time; more are answered with 503.
pub const SESSIONS_MAX: usize = 1024;
/// Commands that run on although their clients have detached. Whoever wants to detach from one more has it hung up: what
/// others left on purpose does not make room.
pub const DETACHED_MAX: usize = 64;
/// A request's line and headers.
pub const REQUEST_HEAD_MAX_BYTES: usize = 16 * 1024;
/// Pause after a failed accept (out of descriptors), lest the loop spin.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// A silent client is asked for a sign of life after the first, again after the second, and is dead after as many.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
pub const KEEPALIVE_PROBES: u32 = 4;
/// A certificate's or a key's file.
pub const CERTIFICATE_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Bytes read at a time, from clients and from processes.
pub const BUFFER_BYTES: usize = 64 * 1024;
/// Buffers kept for the next use while nobody needs them.
pub const BUFFERS_KEPT: usize = 16;

/// A SPDY control frame, with compressed headers in it.
pub const CONTROL_FRAME_MAX_BYTES: usize = 16 * 1024;
/// The headers of one stream when they are decompressed, and their number.
pub const HEADERS_MAX_BYTES: usize = 16 * 1024;
pub const HEADERS_MAX: usize = 64;
/// Streams that a client opens in vain before its session is ended.
pub const REFUSALS_MAX: u32 = 100;
/// A WebSocket message of a client.
pub const WEBSOCKET_MESSAGE_MAX_BYTES: usize = 1024 * 1024;
/// Input that a client sends before it has opened all streams.
pub const EARLY_INPUT_MAX_BYTES: usize = 64 * 1024;
/// The text that says a terminal's size.
pub const RESIZE_MAX_BYTES: usize = 256;

/// From the end of a command until its output is complete although processes that it left hold it open.
pub const OUTPUT_DRAIN: Duration = Duration::from_secs(1);
/// What is read after that of what such processes go on writing: what a pipe holds.
pub const OUTPUT_DRAIN_READS: usize = 2;
/// From the end of the output that somebody is attached to until the container has ended, or it was not read in time.
pub const ATTACH_END: Duration = Duration::from_secs(2);
/// From our end of a session until its client closes the connection. Closing first could cost it what it has not read.
pub const LINGER: Duration = Duration::from_secs(5);
/// For telling the clients that the daemon stops.
pub const FAREWELL: Duration = Duration::from_millis(1500);

/// Connections into a pod in one port-forward session at a time.
pub const FORWARDS_MAX: usize = 256;
/// What a client may send on one of them before it is taken: so many times [`BUFFER_BYTES`].
pub const FORWARD_CHUNKS: usize = 4;
