//! Bounds of the daemon as a process.

use std::time::Duration;

/// How long a folder that another process holds is asked for again, and the pause between. A daemon that was killed may
/// leave a child that is on its way to its program, and has the folder's lock until it gets there.
pub const TAKE_FOLDER: Duration = Duration::from_secs(1);
pub const TAKE_FOLDER_PAUSE: Duration = Duration::from_millis(2);

/// Clients connected at once; for more, those who ask for nothing give way.
pub const CONNECTIONS_MAX: usize = 256;
/// How often it is told that there are too many.
pub const CROWD_TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// Requests in flight on one connection. The kubelet has all its requests on one.
pub const REQUESTS_PER_CONNECTION_MAX: u32 = 512;

/// Bytes of one request's headers.
pub const REQUEST_HEADERS_MAX_BYTES: u32 = 16 * 1024;

/// What a client may send on one stream, and on one connection, before it is read.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// A silent connection is asked for a sign of life after the first and closed after the second.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause after a failed accept (out of descriptors), lest the loop spin.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Who asks for metrics at once; others wait. And from a connection until its request is answered.
pub const METRICS_CONNECTIONS_MAX: usize = 16;
pub const METRICS_REQUEST: Duration = Duration::from_secs(5);
/// Bytes of such a request; hyper wants at least 8 KiB.
pub const METRICS_REQUEST_MAX_BYTES: usize = 8 * 1024;

/// After SIGTERM: how long requests in flight may go on, then how long the network may take to clear up behind the last
/// pod, then how long work that cannot be dropped may. Together they stay below the 5 s that the daemon promises.
pub const DRAIN_REQUESTS: Duration = Duration::from_secs(3);
pub const CLOSE_NETWORK: Duration = Duration::from_millis(500);
pub const DRAIN_WORK: Duration = Duration::from_secs(1);

/// The niceness of the thread that serves the socket (sched(7)); the others have the daemon's own.
pub const SERVE_NICENESS: i32 = -10;

/// Threads that do the engine's work.
pub const WORK_THREADS_MAX: usize = 4;

/// Turns of tasks between two looks for what has come in. tokio's own number, 61, is for short turns: one that takes a piece
/// of a layer from a socket takes 0.1 ms and more, and other layers waited a second for their first byte.
pub const EVENT_INTERVAL: u32 = 8;

/// Threads for calls that block, such as reading and writing files.
pub const BLOCKING_THREADS_MAX: usize = 32;

/// A blocking thread ends when it had nothing to do for so long.
pub const BLOCKING_THREAD_IDLE: Duration = Duration::from_secs(5);

/// Stack of a thread; only what is touched takes memory.
pub const THREAD_STACK_BYTES: usize = 1024 * 1024;

/// Longest path of a unix socket (unix(7), `sun_path` without its NUL).
pub const SOCKET_PATH_MAX_BYTES: usize = 107;
