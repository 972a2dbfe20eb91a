//! Clients that stall, break the protocol or may not be there, on the daemon's socket and on a shim's: they are refused
//! within bounds, everybody else is served as before, and what they cost is given back when they leave.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use tonic::Code;

use crate::client::{Client, code, said};
use crate::figures::{self, Times};
use crate::http2::{self, Raw};
use crate::look;
use crate::node::Node;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};
use crate::suite::Suite;
use crate::until::until;

/// Connections that are opened and stall.
const STALLED: usize = 1000;
/// What the daemon may hold of them; its own bound is 256.
const HELD_MAX: usize = 300;
/// New clients that ask meanwhile.
const ASKED: usize = 100;
/// Each of them is answered within this time; a machine under test is slow.
const USUAL: Duration = Duration::from_millis(250);

/// Requests that are begun and taken back at once.
const RESETS: usize = 20_000;
/// What a client can send of headers without an end.
const HEADERS_MAX_BYTES: usize = 4 << 20;

/// Until everything is given back.
const GIVEN_BACK: Duration = Duration::from_secs(20);
/// The daemon's memory may end so much higher: an allocator keeps some, and buffers for later.
const GROWTH_MAX_KIB: u64 = 12 * 1024;

/// A connection that is not closed by then stays.
const SILENCE: Duration = Duration::from_secs(5);

/// Somebody without permission: the kernel's user for nobody.
const NOBODY: u32 = 65_534;

const VERSION: &str = "/runtime.v1.RuntimeService/Version";

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (client, before) = suite.ready(&mut node).await?;
    let neighbour = Running::begin(&node, &client, "neighbour", &specs::container("c", BUSYBOX, &OBEDIENT)).await?;
    let cost = Cost::of(&node)?;
    stalled(suite, &node, &client).await?;
    cost.is_given_back(suite, "stalled_clients", &node).await;
    frames(suite, &node).await?;
    messages(suite, &node).await?;
    unfinished(suite, &node, &cost).await?;
    cost.is_given_back(suite, "clients_that_break_the_protocol", &node).await;
    nobody(suite, &node).await?;
    shims(suite, &node, &client).await?;
    cost.is_given_back(suite, "clients_of_a_shim", &node).await;
    suite.holds("a_pod_beside_all_that_runs", neighbour.runs(&client).await?, "it does not");
    client.remove_pod(&neighbour.pod).await?;
    suite.nothing_is_left("nothing_is_left_of_hostile_clients", &node, &before).await;
    Ok(())
}

/// What the daemon has.
struct Cost {
    descriptors: BTreeMap<String, usize>,
    threads: usize,
    resident_kib: u64,
}

impl Cost {
    fn of(node: &Node) -> Result<Self> {
        let pid = node.pid()?;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).context("counting the daemon's threads")?.count();
        Ok(Cost { descriptors: look::descriptors(pid)?, threads, resident_kib: figures::memory(pid)?.resident_kib })
    }

    fn sockets(&self) -> usize {
        self.descriptors.get("socket").copied().unwrap_or_default()
    }

    /// Prints whether the daemon has no more than it had then.
    async fn is_given_back(&self, suite: &Suite, by: &str, node: &Node) {
        let given_back = until(GIVEN_BACK, "descriptors, threads and memory as before", async || {
            let now = Cost::of(node)?;
            for (kind, count) in &now.descriptors {
                let had = self.descriptors.get(kind).copied().unwrap_or_default();
                ensure!(*count <= had, "{count} descriptors of {kind}, before there were {had}");
            }
            // Threads that block end after a pause.
            ensure!(now.threads <= self.threads + 1, "{} threads, before there were {}", now.threads, self.threads);
            let grown = now.resident_kib.saturating_sub(self.resident_kib);
            ensure!(grown <= GROWTH_MAX_KIB, "{grown} KiB more than before");
            Ok(grown)
        });
        if let Ok(grown) = suite.pass(&format!("everything_is_given_back_by_{by}"), given_back.await) {
            println!("# memory after {by}: {grown} KiB more than before");
        }
    }
}

/// Many who connect and say nothing, or only hello.
async fn stalled(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    let alone = ask_anew(node).await?;
    let before = Cost::of(node)?;
    let mut stalled = Vec::new();
    for number in 0..STALLED {
        let socket = node.socket();
        stalled.push(if number % 2 == 0 { Raw::connect(&socket).await? } else { Raw::begin(&socket).await? });
    }
    let meanwhile = suite.pass("new_clients_are_served_beside_stalled_ones", ask_anew(node).await)?;
    println!("# new clients alone     {alone}");
    println!("# beside {STALLED} stalled {meanwhile}");
    let p99 = meanwhile.percentile(99);
    suite.holds("and_within_their_usual_time", p99 <= USUAL, format!("p99 {p99:?}, more than {USUAL:?}"));
    let asked = client.pods().await;
    suite.holds("a_client_from_before_is_served_as_well", asked.is_ok(), said(&asked));
    let held = Cost::of(node)?.sockets().saturating_sub(before.sockets());
    suite.holds("connections_are_bounded", held <= HELD_MAX, format!("{held} more sockets, at most {HELD_MAX}"));
    let told = log_lines(node, "too many clients")?;
    suite.holds("a_crowd_is_told_once", told == 1, format!("{told} times"));
    drop(stalled);
    Ok(())
}

/// How long new clients wait for the connection and two answers.
async fn ask_anew(node: &Node) -> Result<Times> {
    let mut times = Times::default();
    for _ in 0..ASKED {
        let begun = Instant::now();
        let client = node.client();
        client.version().await?;
        client.containers().await?;
        times.add(begun.elapsed());
    }
    Ok(times)
}

/// HTTP/2 that is none, or too much of it: the connection is closed.
async fn frames(suite: &Suite, node: &Node) -> Result<()> {
    let begun = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &http2::frame(http2::SETTINGS, 0, 0, &[])].concat();
    let [huge, cut] = [
        &[0xff, 0xff, 0xff, http2::DATA, 0, 0, 0, 0, 1][..],
        &[0, 0, 5, http2::SETTINGS, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5],
    ];
    let cases: [(&str, Vec<u8>); 6] = [
        ("garbage", vec![0xa5; 1000]),
        ("http_1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a_frame_of_16_mib", [&begun, huge].concat()),
        ("settings_of_a_wrong_length", [&begun, cut].concat()),
        (
            "headers_that_cannot_be_decompressed",
            [&begun, &http2::frame(http2::HEADERS, 5, 1, &[0xff; 40])[..]].concat(),
        ),
        (
            "a_window_beyond_all",
            [&begun, &http2::frame(http2::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])[..]].concat(),
        ),
    ];
    for (name, bytes) in cases {
        let mut raw = Raw::connect(&node.socket()).await?;
        // It may be closed already.
        let _ = raw.send(&bytes).await;
        let _ = suite.pass(&format!("{name}_ends_the_connection"), raw.read_to_the_end().await);
    }
    let mut raw = Raw::begin(&node.socket()).await?;
    raw.send(&http2::frame(http2::HEADERS, 0, 1, &http2::headers(VERSION))).await?;
    let more = http2::frame(http2::CONTINUATION, 0, 1, &http2::header("x-long", &"x".repeat(100)).repeat(150));
    let sent = raw.flood(&more, HEADERS_MAX_BYTES).await;
    suite.holds("headers_without_end_end_the_connection", sent < HEADERS_MAX_BYTES, format!("{sent} bytes are taken"));
    let mut raw = Raw::begin(&node.socket()).await?;
    let headers = http2::headers(VERSION);
    let mut sent = 0;
    for stream in (1..).step_by(2).take(RESETS) {
        let ask = http2::frame(http2::HEADERS, http2::END_HEADERS, stream, &headers);
        let cancel = http2::frame(http2::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        if raw.send(&[ask, cancel].concat()).await.is_err() {
            break;
        }
        sent += 1;
    }
    let served = raw.read_to_the_end().await;
    println!("# requests begun and taken back: {sent} of {RESETS}; then {served:?}");
    suite.holds("rapid_resets_end_the_connection", sent < RESETS || matches!(served, Ok(Some(_))), format!("{sent}"));
    Ok(())
}

/// Messages of gRPC that are none: each has its status, and the connection goes on.
async fn messages(suite: &Suite, node: &Node) -> Result<()> {
    let cases: [(&str, Vec<u8>, Code); 5] = [
        ("a_message_that_is_garbage", http2::message(4, &[0xff; 4]), Code::Internal),
        ("a_message_that_is_cut", http2::message(100, &[10, 3]), Code::Internal),
        ("a_head_that_is_cut", vec![0, 0], Code::Internal),
        ("an_unknown_compression", vec![1, 0, 0, 0, 2, 0, 0], Code::Internal),
        ("a_message_of_more_than_16_mib", http2::message((16 << 20) + 1, &[]), Code::OutOfRange),
    ];
    let client = node.client();
    for (name, bytes, wanted) in cases {
        let answer = client.raw(VERSION, bytes).await;
        suite.holds(&format!("{name}_has_its_status"), code(&answer) == wanted, said(&answer));
    }
    let big = "x".repeat((16 << 20) + 1);
    let answer = client.exec("none", &[&big], 1).await;
    suite.holds("a_request_of_more_than_16_mib_is_refused", code(&answer) == Code::OutOfRange, said(&answer));
    let answer = client.version().await;
    suite.holds("the_connection_goes_on_after_that", answer.is_ok(), said(&answer));
    Ok(())
}

/// Requests whose messages do not end: they end when their time is over, and hold little until then.
async fn unfinished(suite: &Suite, node: &Node, before: &Cost) -> Result<()> {
    let mut connections = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::begin(&node.socket()).await?;
        for stream in (1..).step_by(2).take(16) {
            raw.send(&http2::frame(http2::HEADERS, http2::END_HEADERS, stream, &http2::headers(VERSION))).await?;
            raw.send(&http2::frame(http2::DATA, 0, stream, &http2::message(15 << 20, &[]))).await?;
            // Together they are less than the window that a connection begins with.
            raw.send(&http2::frame(http2::DATA, 0, stream, &[0; 3000])).await?;
        }
        connections.push(raw);
    }
    let asked = ask_anew(node).await?;
    println!("# beside unfinished requests {asked}");
    let grown = Cost::of(node)?.resident_kib.saturating_sub(before.resident_kib);
    println!("# 64 requests of 15 MiB that do not end: {grown} KiB");
    for (number, mut raw) in connections.into_iter().enumerate() {
        let _ = suite.pass(&format!("unfinished_requests_end_{number}"), raw.answer(1).await);
    }
    Ok(())
}

/// Somebody else on the machine.
async fn nobody(suite: &Suite, node: &Node) -> Result<()> {
    let socket = node.socket();
    let reachable = Opened::to_others(&[node.folder()])?;
    let tried = std::thread::spawn(move || as_nobody(|| connect(&socket, SocketType::STREAM))).join();
    drop(reachable);
    let refused = matches!(tried, Ok(Ok(Err(Errno::ACCESS))));
    suite.holds("another_user_cannot_connect_to_the_daemon", refused, format!("{tried:?}"));
    Ok(())
}

/// A pod's shim, which only the daemon may speak to.
async fn shims(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    let pod = Running::begin(node, client, "spoken-to", &specs::container("c", BUSYBOX, &OBEDIENT)).await?;
    let folder = node.state().join("pods").join(&pod.pod);
    let socket = folder.join("shim.sock");
    let reachable = Opened::to_others(&[node.folder(), &node.state(), &node.state().join("pods"), &folder, &socket])?;
    // However long the path is: a socket's has 107 bytes (unix(7)).
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(&folder, flags, Mode::empty()).context("opening the shim's folder")?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/shim.sock", handle.as_raw_fd()));
    let path = short.clone();
    let tried = std::thread::spawn(move || {
        as_nobody(|| {
            for _ in 0..20 {
                let connection = connect(&path, SocketType::SEQPACKET)?;
                let closed = rustix::net::recv(&connection, &mut [0; 8], RecvFlags::empty());
                assert!(is_end(&closed), "{closed:?}");
            }
            Ok::<_, Errno>(())
        })
    });
    let tried = tokio::task::spawn_blocking(|| tried.join()).await?;
    suite.holds("another_user_is_not_served_by_a_shim", matches!(tried, Ok(Ok(Ok(())))), format!("{tried:?}"));
    drop(reachable);
    let shim = node.shim(&pod.pod)?;
    let log = fs::read_to_string(node.state().join("shims.log")).context("reading the shims' log")?;
    let told = log.lines().filter(|line| line.contains("another user") && line.contains(&pod.pod)).count();
    suite.holds("another_user_is_told_once", told == 1, format!("{told} times"));
    for (name, packet) in [("garbage", vec![0xff; 40]), ("too_much", vec![7; 140 << 10]), ("a_reply", vec![1, 1, 0, 1])]
    {
        let connection = connect(&short, SocketType::SEQPACKET)?;
        // What is too large for the socket's buffer is refused by the kernel.
        let _ = rustix::net::send(&connection, &packet, SendFlags::NOSIGNAL);
        let closed = rustix::net::recv(&connection, &mut [0; 8], RecvFlags::empty());
        suite.holds(&format!("a_shim_ends_a_connection_with_{name}"), is_end(&closed), format!("{closed:?}"));
        let answer = client.exec(&pod.container, &["true"], 20).await;
        suite.holds(&format!("and_serves_the_daemon_after_{name}"), answer.is_ok(), said(&answer));
    }
    ensure!(node.shim(&pod.pod)? == shim, "the shim is another one");
    suite.holds("a_shim_that_strangers_spoke_to_keeps_its_container", pod.runs(client).await?, "it has ended");
    client.remove_pod(&pod.pod).await?;
    Ok(())
}

/// Whether the other end has closed the connection.
fn is_end(received: &rustix::io::Result<(usize, usize)>) -> bool {
    matches!(received, Ok((_, 0)) | Err(Errno::CONNRESET))
}

fn connect(path: &Path, kind: SocketType) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Does something in this thread, which ends after it, as another user.
fn as_nobody<T>(act: impl FnOnce() -> T) -> rustix::io::Result<T> {
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_gid(rustix::process::Gid::from_raw(NOBODY))?;
    rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(NOBODY))?;
    Ok(act())
}

/// Files and folders whose mode lets everybody through, until this is dropped.
struct Opened(Vec<(PathBuf, fs::Permissions)>);

impl Opened {
    /// Sockets are opened for writing, folders for passing through; so are the folders above.
    fn to_others(paths: &[&Path]) -> Result<Self> {
        let mut opened = Opened(Vec::new());
        let above = paths.first().into_iter().flat_map(|path| path.ancestors().skip(1).take(1));
        for path in above.chain(paths.iter().copied()) {
            let metadata = fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
            let mode = if metadata.is_dir() { 0o711 } else { 0o666 };
            opened.0.push((path.to_owned(), metadata.permissions()));
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).context("opening a folder to others")?;
        }
        Ok(opened)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for (path, permissions) in self.0.drain(..) {
            // The suite's place is removed at its end.
            let _ = fs::set_permissions(path, permissions);
        }
    }
}

/// How many lines of the daemon's log have this text.
fn log_lines(node: &Node, text: &str) -> Result<usize> {
    let log = fs::read_to_string(node.folder().join("daemon.log")).context("reading the daemon's log")?;
    Ok(log.lines().filter(|line| line.contains(text)).count())
}
