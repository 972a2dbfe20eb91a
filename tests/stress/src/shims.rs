//! Shims that live and are of no use: silent ones, one that listens to somebody else, one that hangs up. Their pods are
//! told as lost or are not there, and no process of them is left.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, send, socket};
use rustix::process::Signal;
use tonic::Code;

use crate::client::{Client, code, said};
use crate::node::Node;
use crate::processes::{self, signal};
use crate::restart::loss_is_told;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, STUBBORN};
use crate::suite::Suite;
use crate::until::until;

const SOON: Duration = Duration::from_secs(10);
/// From the first question to a silent shim until it is given up and killed.
const GIVEN_UP: Duration = Duration::from_secs(20);

/// A request as a daemon's: number 1, on behalf of "-", hello of version 1 (the shim's protocol, in postcard).
const HELLO: [u8; 6] = [0, 1, 1, b'-', 0, 1];

/// In the place of a shim: hangs up at once, and lives.
const HANGS_UP: &str = "#!/bin/sh
[ \"$1\" = --pod ] || exit 1
echo $$ > \"${0%/*}/pid\"
exec 3<&- 4<&-
exec sleep 3333
";

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (_, before) = suite.ready(&mut node).await?;
    silent(suite, &mut node).await?;
    taken(suite, &node).await?;
    hung_up(suite, &mut node).await?;
    suite.nothing_is_left("nothing_is_left_of_shims", &node, &before).await;
    Ok(())
}

/// A pod, and the processes that must not be left of it.
struct Watched {
    running: Running,
    shim: u32,
    processes: [u32; 2],
}

impl Watched {
    async fn begin(node: &Node, client: &Client, name: &str) -> Result<Self> {
        let container = specs::container("c", BUSYBOX, &STUBBORN);
        let running = Running::begin(node, client, name, &container).await?;
        let shim = node.shim(&running.pod)?;
        let processes = [shim, client.container_pid(&running.container).await?];
        Ok(Watched { running, shim, processes })
    }

    async fn is_gone(&self) -> Result<()> {
        until(SOON, "the end of shim and container", async || {
            let left: Vec<_> = self.processes.iter().filter(|pid| processes::lives(**pid)).collect();
            ensure!(left.is_empty(), "{left:?} of {:?} live", self.processes);
            Ok(())
        })
        .await
    }
}

/// One is silent when a daemon starts, others when their pod is stopped and removed.
async fn silent(suite: &Suite, node: &mut Node) -> Result<()> {
    let client = node.client();
    let found = Watched::begin(node, &client, "found").await?;
    let stopped = Watched::begin(node, &client, "stopped").await?;
    let removed = Watched::begin(node, &client, "removed").await?;
    node.kill()?;
    signal(found.shim, Signal::STOP)?;
    node.start().await?;
    signal(stopped.shim, Signal::STOP)?;
    signal(removed.shim, Signal::STOP)?;
    let begun = Instant::now();
    let told = until(GIVEN_UP, "the loss of a silent shim", async || loss_is_told(&client, &found.running).await);
    let (told, stop, removal) =
        tokio::join!(told, client.stop_pod(&stopped.running.pod), client.remove_pod(&removed.running.pod));
    let took = begun.elapsed();
    println!("# silent shims were given up after {took:?}");
    suite.pass("a_shim_that_is_silent_at_a_start_is_told_as_lost", told)?;
    suite.pass("a_pod_with_a_silent_shim_is_stopped", stop)?;
    suite.pass("a_pod_with_a_silent_shim_is_removed", removal)?;
    suite.holds("silent_shims_are_given_up_in_time", took < GIVEN_UP, format!("{took:?}"));
    let state = stopped.running.states(&client).await?;
    suite.holds("its_container_has_exited", state.1.as_str_name() == "CONTAINER_EXITED", format!("{state:?}"));
    for (name, watched) in [("found", &found), ("stopped", &stopped), ("removed", &removed)] {
        suite.pass(&format!("nothing_runs_of_the_{name}_silent_shim"), watched.is_gone().await)?;
        client.remove_pod(&watched.running.pod).await?;
    }
    Ok(())
}

/// Somebody else says hello to a shim, which then hangs up on the daemon and lives.
async fn taken(suite: &Suite, node: &Node) -> Result<()> {
    let client = node.client();
    let watched = Watched::begin(node, &client, "taken").await?;
    let _other = say_hello(&node.state().join("pods").join(&watched.running.pod))?;
    suite.pass("a_shim_that_hangs_up_is_told_as_lost", loss_is_told(&client, &watched.running).await)?;
    suite.pass("a_shim_that_hangs_up_does_not_remain", watched.is_gone().await)?;
    suite.pass("its_pod_is_removed", client.remove_pod(&watched.running.pod).await)
}

fn say_hello(folder: &Path) -> Result<OwnedFd> {
    let folder = open(folder, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).context("opening the shim's folder")?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/shim.sock", folder.as_raw_fd()))?;
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
    connect(&socket, &address).context("connecting to the shim")?;
    send(&socket, &HELLO, SendFlags::empty())?;
    Ok(socket)
}

async fn hung_up(suite: &Suite, node: &mut Node) -> Result<()> {
    let folder = node.folder().join("hangs-up");
    let program = folder.join("cradle-shim");
    fs::create_dir_all(&folder)?;
    fs::write(&program, HANGS_UP)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    node.kill()?;
    node.set("shim", &program.display().to_string());
    node.start().await?;
    let client = node.client();
    let config = specs::pod(node, "hung-up");
    let refusal = client.run_pod(&config).await;
    suite.holds("a_shim_that_hangs_up_at_once_makes_no_pod", code(&refusal) == Code::Unavailable, said(&refusal));
    let listed = client.pods().await?.len();
    suite.holds("nor_is_one_seen", listed == 0, listed);
    let pid = fs::read_to_string(folder.join("pid")).context("the program was not started")?.trim().parse()?;
    let ended = until(SOON, "the end of the program that hung up", async || {
        ensure!(!processes::lives(pid), "process {pid} lives");
        Ok(())
    });
    suite.pass("a_program_that_hangs_up_at_once_does_not_remain", ended.await)?;
    node.kill()?;
    node.set("shim", &suite.places.dist.join("cradle-shim").display().to_string());
    node.start().await?;
    let pod = suite.pass("the_same_pod_runs_with_a_whole_shim", client.run_pod(&config).await)?;
    client.remove_pod(&pod).await?;
    Ok(())
}
