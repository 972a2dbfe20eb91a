//! What crosses the socket between the daemon and a shim.
//!
//! One `SOCK_SEQPACKET` message is one [`Frame`], encoded by postcard, with descriptors beside it as `SCM_RIGHTS`. A body
//! larger than [`INLINE_MAX_BYTES`] travels in a sealed memfd, which is then the message's first descriptor.
//!
//! The daemon numbers its requests; the shim answers each exactly once, in any order, and sends events in between. Every
//! connection begins with [`Request::Hello`], by which it replaces the one before: the shim serves one daemon at a time.
//! The answer holds the whole state, so that no event of an earlier connection is missed.
//!
//! Compatibility: a daemon drives shims of versions before its own for as long as their pods live. Variants are only
//! appended and existing ones never change; what a version knows is told by [`Greeting::version`].

use std::time::Duration;

use cradle_domain::{ContainerId, PodId, Timestamp};
use cradle_executor::plan::{ContainerPlan, ExecPlan};
use cradle_executor::pod::PodPlan;
use serde::{Deserialize, Serialize};

/// Version of this protocol. Raised with every appended variant.
pub const VERSION: u32 = 1;

/// Bodies up to this size travel in the message itself (the default `SO_SNDBUF` is 212,992 bytes).
pub const INLINE_MAX_BYTES: usize = 128 * 1024;

/// Largest body in a memfd that either side accepts.
pub const BODY_MAX_BYTES: usize = 8 * 1024 * 1024;

/// One message.
#[derive(Debug, Serialize, Deserialize)]
pub enum Frame {
    /// Daemon to shim.
    Request {
        /// Number of this request on this connection.
        sequence: u64,
        /// The id that the logs of daemon and shim share for one gRPC request.
        request_id: String,
        body: Request,
    },
    /// Shim to daemon: the answer to the request `sequence`.
    Reply { sequence: u64, body: Result<Reply, Refusal> },
    /// Shim to daemon, unasked.
    Event(Event),
    /// The body is in the memfd that is this message's first descriptor.
    InMemfd { length: u64 },
}

/// What the daemon asks.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Who are you, and what do you hold? Answered by [`Reply::Greeting`].
    Hello { version: u32 },
    /// Make the pod's namespaces. Answered by [`Reply::PodReady`] with two descriptors when the pod has a network
    /// namespace of its own: a `NETLINK_ROUTE` socket opened in it, and the namespace itself.
    SetUpPod(Box<PodPlan>),
    /// Start a container's first process. Answered by [`Reply::Started`] after its `execve` succeeded.
    StartContainer(Box<StartContainer>),
    /// Start one more process in a running container. With [`ExecIo::Pipes`] the request carries the process's ends of
    /// stdin, stdout and stderr (in this order, those that are flagged); with [`ExecIo::Terminal`] the answer carries the
    /// terminal's master. Answered by [`Reply::Started`].
    StartExec(Box<StartExec>),
    /// Send a signal. To a process that is gone: success.
    Signal { target: Target, signal: i32, scope: Scope },
    /// Kill every process of a container's control group, and go on until none is left. Answered when it is empty; for a
    /// container that is not known, at once.
    KillContainer { container: ContainerId },
    /// Forget an exited container and remove its control group. Answered by [`Reply::Done`].
    RemoveContainer { container: ContainerId },
    /// Open the container's log file anew, after a rotation.
    ReopenLog { container: ContainerId },
    /// Set the size of a container's terminal. That of an exec is set by the daemon, on the master that it has got: the
    /// shim keeps none, so that a terminal hangs up when its daemon is gone.
    Resize { target: Target, columns: u16, rows: u16 },
    /// Hand over a stream of the container's output from now on, and its stdin. The answer carries the descriptors that
    /// are flagged in [`Reply::Attached`], in the order stdin, stdout, stderr.
    Attach { container: ContainerId, stdin: bool, stdout: bool, stderr: bool },
    /// Connect to a port inside the pod's network namespace, 127.0.0.1 then ::1. Answered by [`Reply::Done`] with the
    /// connected socket.
    Dial { port: u16 },
    /// Kill everything in the pod, write the exit records, answer, and exit. The answer is the last message.
    Shutdown,
}

/// The start of a container.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartContainer {
    pub plan: ContainerPlan,
    pub io: ContainerIo,
}

/// Where a container's input and output go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerIo {
    /// The CRI log file, absolute; none: the output is only for those who attach.
    pub log_path: Option<String>,
    /// Longest line in bytes before it is written in parts tagged `P`.
    pub log_line_max_bytes: u32,
    pub terminal: bool,
    /// Keep the process's stdin open for those who attach; otherwise it reads end of file at once.
    pub stdin: bool,
    /// Close stdin when the first one who attached to it leaves.
    pub stdin_once: bool,
}

/// The start of one more process in a container.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartExec {
    pub container: ContainerId,
    /// Chosen by the daemon, unique within the pod.
    pub exec: ExecId,
    pub plan: ExecPlan,
    pub io: ExecIo,
    /// Kill the whole tree of this exec when it has run for so long; its [`Event::ExecExited`] then says so.
    pub timeout: Option<Duration>,
}

/// Names one exec within a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExecId(pub u64);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum ExecIo {
    Pipes { stdin: bool, stdout: bool, stderr: bool },
    Terminal { columns: u16, rows: u16 },
}

/// A process that the shim started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Target {
    Container(ContainerId),
    Exec(ContainerId, ExecId),
}

/// How far a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The first process alone.
    Leader,
    /// Every process of the container's, or of the exec's, control group.
    Group,
}

/// What the shim answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Greeting(Box<Greeting>),
    PodReady,
    Started { pid: i32, at: Timestamp },
    Attached { stdin: bool, stdout: bool, stderr: bool, terminal: bool },
    Done,
}

/// All that a shim knows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Greeting {
    pub version: u32,
    pub pod: PodId,
    pub pid: i32,
    pub set_up: bool,
    pub containers: Vec<ContainerReport>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerReport {
    pub container: ContainerId,
    pub pid: i32,
    pub started_at: Timestamp,
    pub exit: Option<Exit>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, or 128 and the signal's number.
    pub code: i32,
    pub at: Timestamp,
    /// The kernel killed a process of its control group for lack of memory.
    pub oom_killed: bool,
    /// An exec ran into its timeout.
    pub timed_out: bool,
}

/// What the shim tells unasked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// A container's first process is dead, its output is in the log and its record on disk.
    ContainerExited { container: ContainerId, exit: Exit },
    /// An exec's process is dead and reaped, and, after a timeout, so is its whole tree.
    ExecExited { container: ContainerId, exec: ExecId, exit: Exit },
    /// Bytes of output that could not be written to the log (a full disk) since the last such event.
    LogLost { container: ContainerId, lost_bytes: u64, error: String },
}

/// Why the shim did not do it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    pub class: cradle_domain::Class,
    /// What was tried, on what, and why it failed: "mounting /etc/hosts: bind source /x: No such file or directory".
    pub message: String,
    pub hint: Option<String>,
}

/// The file `exits/<container id>` in a shim's folder: a postcard [`ExitRecord`], written before the event is sent, so
/// that an exit is known even when shim and daemon are gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Version of this record's form, 1.
    pub version: u32,
    pub report: ContainerReport,
}

impl ExitRecord {
    /// Reads a record; none: it is of a later version, or damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes::<Self>(bytes).ok().filter(|record| record.version == 1)
    }
}
