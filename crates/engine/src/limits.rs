//! Every bound of the engine, by name.

use std::time::Duration;

/// Answer to a request that the shim can answer from memory or by a few system calls.
pub const SHIM_ANSWER: Duration = Duration::from_secs(10);
/// Answer to a request that starts a process: mounts may be slow, a hung one must not hold the caller for ever.
pub const SHIM_START: Duration = Duration::from_secs(60);
/// Answer to `Shutdown`: everything in the pod is killed and reaped. The shim gives up before.
pub const SHIM_SHUTDOWN: Duration = Duration::from_secs(10);
/// From a shim's answer to `Shutdown` until its process has ended by itself.
pub const SHIM_END: Duration = Duration::from_secs(1);
/// From the kill of a shim until its process has ended.
pub const SHIM_KILL: Duration = Duration::from_secs(10);
/// Answer of a shim of an earlier daemon to hello; one that does not give it is killed.
pub const SHIM_HELLO: Duration = Duration::from_secs(10);
/// From the daemon's start until reads are served although some shims have not answered.
pub const RECOVERY_BEFORE_SERVING: Duration = Duration::from_millis(500);
/// From a kill of the whole group until the container is dead.
pub const KILL: Duration = Duration::from_secs(15);
/// From the end of an exec until its output is complete although other processes hold the pipes.
pub const EXEC_DRAIN: Duration = Duration::from_secs(1);
/// From an exec's timeout until its tree is killed and reaped.
pub const EXEC_KILL: Duration = Duration::from_secs(10);
/// Output of one ExecSync in all; more is read and dropped (CRI: below the client's message limit of 16 MiB).
pub const EXEC_OUTPUT_MAX_BYTES: usize = 16 * 1024 * 1024 - 64 * 1024;
/// Messages of one shim that its pod has not dealt with yet.
pub const SHIM_EVENTS: usize = 256;
/// Requests to one shim that await their answer.
pub const SHIM_REQUESTS_IN_FLIGHT: usize = 256;
/// A look at a path of the host that a request names; its file system may never answer.
pub const HOST_PATH_ANSWER: Duration = Duration::from_secs(5);
/// First and longest pause between two tries of the repairer.
pub const REPAIR_FIRST: Duration = Duration::from_millis(200);
pub const REPAIR_LONGEST: Duration = Duration::from_secs(30);
/// From the daemon's start until it is known whether pods can have user namespaces, and what is said of it.
pub const PROBE: Duration = Duration::from_secs(5);
pub const PROBE_ANSWER_MAX_BYTES: u64 = 4096;
/// A host name (sethostname(2)).
pub const HOSTNAME_MAX_BYTES: usize = 64;
/// `/etc/passwd` and `/etc/group` of an image.
pub const ACCOUNT_FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Size of a pod's `/dev/shm`.
pub const POD_SHM_BYTES: u64 = 64 * 1024 * 1024;
/// Containers of one pod.
pub const CONTAINERS_PER_POD: usize = 1024;
/// Bytes of a seccomp profile file.
pub const SECCOMP_PROFILE_MAX_BYTES: u64 = 4 * 1024 * 1024;
