//! Bounds on messages.

use std::time::Duration;

/// Largest request and largest answer. The kubelet's and crictl's own limit is the same.
pub const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// A message of a `Stream*` RPC is sent once its items reach this size.
pub const STREAM_MESSAGE_BYTES: usize = 256 * 1024;

/// Pause between two messages of our own service's `Pull`.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Longest part of a request's value that an error message repeats.
pub const QUOTED_VALUE_MAX_CHARS: usize = 120;

/// Longest message of a gRPC status. It travels as a header, percent-encoded, and clients bound their headers.
pub const STATUS_MESSAGE_MAX_BYTES: usize = 4 * 1024;

/// Longest host name (sethostname(2)).
pub const HOSTNAME_MAX_BYTES: usize = 64;
