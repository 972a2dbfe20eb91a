//! Every bound of the shim, by name (invariant 11).

use std::time::Duration;

/// Longest log line before it is split, where the daemon names none (as containerd and CRI-O have it).
pub const LOG_LINE_DEFAULT_BYTES: usize = 16 * 1024;
/// Longest log line that a daemon can ask for: it is held in memory until its end has come.
pub const LOG_LINE_MAX_BYTES: usize = 1024 * 1024;
/// Read from a container's output at a time: what a pipe holds.
pub const READ_BYTES: usize = 64 * 1024;
/// Writes of containers that the kernel keeps in mind until they are read (`RLIMIT_SIGPENDING` of the shim). More make the
/// order of the two streams unknown, and nothing worse: a container that writes in vain to a full pipe, again and again,
/// must not use up what the kernel keeps for all processes of root.
pub const WRITES_PENDING_MAX: usize = 8192;
/// Bytes in a pipe from which on its writer is taken to be faster than the shim.
pub const FILLING_BYTES: u64 = 4096;
/// Times in a row that such writes are taken before anything else is looked at.
pub const WRITE_ROUNDS_IN_A_ROW: usize = 2;
/// Looks for the write that something was read of: the kernel tells it a moment later.
pub const LOOKS_FOR_A_WRITE: usize = 2;
/// Formatted log lines written at a time.
pub const LOG_WRITE_BYTES: usize = 64 * 1024;
/// The buffers are given back when nothing has used them for so long.
pub const BUFFERS_IDLE: Duration = Duration::from_millis(100);

/// What a client who attached may lag behind a container's output before the shim lets it go.
pub const ATTACH_LAG_BYTES: usize = 1024 * 1024;
/// Clients attached to one container at a time.
pub const ATTACHED_MAX: usize = 32;

/// Containers of one pod, exited ones that are not removed yet included.
pub const CONTAINERS_MAX: usize = 1024;
/// Execs running in one pod at a time.
pub const EXECS_MAX: usize = 1024;
/// Connections into the pod being made at a time.
pub const DIALS_MAX: usize = 256;
/// Until a connection to one of the two addresses counts as refused. Both together are less than what the daemon waits.
pub const DIAL_DEADLINE: Duration = Duration::from_secs(4);

/// Between the death of a container's first process and its exit being told, while others hold its output open or
/// cannot be killed.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(2);
/// Between an exec's timeout and its exit being told, while processes of it cannot be killed.
pub const EXEC_KILL_DEADLINE: Duration = Duration::from_secs(5);
/// Between [`crate::protocol::Request::Shutdown`] and its refusal, while processes cannot be killed. Less than what the
/// daemon waits.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// First pause before processes that were killed are looked at again; it doubles up to [`KILL_RETRY_MAX`].
pub const KILL_RETRY_FIRST: Duration = Duration::from_millis(1);
/// Longest pause between two attempts to kill the rest of a control group.
pub const KILL_RETRY_MAX: Duration = Duration::from_millis(250);
/// Between two events that tell of lost log output.
pub const LOG_LOST_INTERVAL: Duration = Duration::from_secs(5);

/// Messages waiting for a daemon that does not read; one more, and the connection is closed. The daemon comes back and
/// asks for the whole state.
pub const OUTBOUND_FRAMES_MAX: usize = 1024;
/// Requests served in a row before the containers' output is looked at again.
pub const REQUESTS_IN_A_ROW: usize = 16;
/// Dead children reaped in a row before the containers' output is looked at again.
pub const REAPED_IN_A_ROW: usize = 64;
/// Control groups of ended execs looked at in a row, to remove those whose last process has gone.
pub const GROUPS_SWEPT_IN_A_ROW: usize = 4;
/// Until the last answer, after a shutdown, must be taken by the daemon.
pub const FAREWELL_DEADLINE: Duration = Duration::from_secs(1);
/// Requests to kill one container that await its death.
pub const KILLS_WAITING_MAX: usize = 64;
/// Reads in a row of what a dead container's output still holds; what outsiders go on writing is read turn by turn.
pub const DRAIN_READS_IN_A_ROW: usize = 32;
/// Until a listener is served again after this process could open no more descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Size of a container's terminal until someone who attaches says another.
pub const TERMINAL_COLUMNS: u16 = 80;
pub const TERMINAL_ROWS: u16 = 24;
/// Processes on their way to their program in one pod at a time.
pub const STARTS_MAX: usize = 256;
