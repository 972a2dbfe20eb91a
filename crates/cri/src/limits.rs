//! Bounds on messages.

use std::time::Duration;

/// Largest request and largest answer. The kubelet's and crictl's own limit is the same.
pub const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// From the beginning of a request until its message is complete: clients are on this machine.
pub const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// What the messages that are on their way, and those whose answers have not begun, hold together.
pub const ARRIVING_MAX_BYTES: usize = 4 * MESSAGE_MAX_BYTES;

/// A message of a `Stream*` RPC is sent once its items reach this size.
pub const STREAM_MESSAGE_BYTES: usize = 256 * 1024;

/// From one piece of an archive to the next: one that a client sends, and one that a client takes.
pub const ARCHIVE_PIECE_WITHIN: Duration = Duration::from_secs(300);

/// Pause between two messages of our own service's `Pull`.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Longest part of a request's value that an error message repeats.
pub const QUOTED_VALUE_MAX_CHARS: usize = 120;

/// Longest message of a gRPC status. It travels as a header, percent-encoded, and clients bound their headers.
pub const STATUS_MESSAGE_MAX_BYTES: usize = 4 * 1024;

/// Longest host name (sethostname(2)).
pub const HOSTNAME_MAX_BYTES: usize = 64;
