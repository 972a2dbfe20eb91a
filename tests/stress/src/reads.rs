//! Lists while many pods are there, and many more come and go: a read never waits.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::task::JoinSet;

use crate::figures::Times;
use crate::fuse::SilentFilesystem;
use crate::lives::{Liver, Patience};
use crate::node::{Home, Node};
use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};
use crate::suite::Suite;

/// The form of the test.
struct Form {
    resting: usize,
    changing: usize,
    time: Duration,
    bound: Duration,
}

const SHORT: Form = Form { resting: 20, changing: 10, time: Duration::from_secs(5), bound: Duration::from_millis(50) };
const LONG: Form = Form { resting: 100, changing: 50, time: Duration::from_secs(60), bound: Duration::from_millis(5) };

/// Clients that wait as long as it takes.
const PATIENCE: Patience =
    Patience { first_ms: (60_000, 60_001), hopeless_once_in: u64::MAX, cancelled_once_in: u64::MAX };

/// The one who measures goes first: it is the daemon that is measured.
const NICENESS: i32 = -10;

/// What is asked in turn.
const READS: [&str; 4] = ["ListPodSandbox", "ListContainers", "PodSandboxStatus", "ContainerStatus"];

pub async fn run(suite: &Suite) -> Result<()> {
    let form = if suite.long { LONG } else { SHORT };
    let mut node = suite.node("n")?;
    let (client, before) = suite.ready(&mut node).await?;
    let mut resting = Vec::new();
    for number in 0..form.resting {
        let container = specs::container("c", BUSYBOX, &OBEDIENT);
        resting.push(Running::begin(&node, &client, &format!("resting-{number}"), &container).await?);
    }
    let stuck = Stuck::begin(&node).await;
    let (stop, lived) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let mut changing = JoinSet::new();
    for number in 0..form.changing {
        let (home, stop, lived) = (node.home().clone(), stop.clone(), lived.clone());
        let mut liver = Liver::new(home.client(), suite.random(), PATIENCE);
        changing.spawn_local(async move {
            for count in 0.. {
                if stop.get() {
                    break;
                }
                liver.live(&home, &format!("changing-{number}-{count}")).await?;
                lived.set(lived.get() + 1);
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    let (home, running, time) = (node.home().clone(), resting[0].clone(), form.time);
    let measured = std::thread::spawn(move || measure(&home, &running, time));
    let measured = tokio::task::spawn_blocking(move || measured.join()).await?;
    stop.set(true);
    let measured = suite.pass("reads_are_answered", measured.map_err(|_| anyhow!("the measuring thread panicked"))?)?;
    while let Some(ended) = changing.join_next().await {
        suite.pass("pods_come_and_go_meanwhile", ended?)?;
    }
    let lived = lived.get();
    let kind = if stuck.is_some() { ", one start stuck" } else { "" };
    println!("# {} pods at rest, {} clients changing, {lived} lives meanwhile{kind}", form.resting, form.changing);
    for (name, times) in READS.iter().zip(&measured) {
        println!("# {name:18} {times}");
        let (p99, bound) = (times.percentile(99), form.bound);
        suite.holds(&format!("{name}_never_waits"), p99 <= bound, format!("p99 {p99:?}, more than {bound:?}"));
    }
    drop(stuck);
    for pod in client.pods().await? {
        client.remove_pod(&pod.id).await?;
    }
    suite.nothing_is_left("nothing_is_left_after_reads", &node, &before).await;
    Ok(())
}

/// A container whose start waits for a file system that never answers.
struct Stuck {
    _filesystem: SilentFilesystem,
}

impl Stuck {
    async fn begin(node: &Node) -> Option<Self> {
        let filesystem = SilentFilesystem::mount(&node.shared("silent").ok()?).ok()?;
        let config = specs::pod(node, "stuck");
        let pod = node.client().run_pod(&config).await.ok()?;
        let mut container = specs::container("c", BUSYBOX, &OBEDIENT);
        specs::mount(&mut container, &filesystem.path().join("volume"), "/mnt");
        let client = node.client();
        tokio::task::spawn_local(async move {
            if let Ok(id) = client.create(&pod, &container, &config).await {
                // It cannot succeed.
                let _ = client.start(&id).await;
            }
        });
        Some(Stuck { _filesystem: filesystem })
    }
}

/// Reads one after another over a connection of its own, on a thread of its own; times by kind of read.
fn measure(home: &Home, running: &Running, time: Duration) -> Result<Vec<Times>> {
    // Refused to a user who is not root; then it measures more of itself.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("making a runtime")?;
    runtime.block_on(async {
        let client = home.client();
        client.version().await?;
        let mut times = vec![Times::default(); READS.len()];
        let end = Instant::now() + time;
        while Instant::now() < end {
            for (at, times) in times.iter_mut().enumerate() {
                let begun = Instant::now();
                match at {
                    0 => drop(client.pods().await?),
                    1 => drop(client.containers().await?),
                    2 => drop(client.pod_status(&running.pod).await?),
                    _ => drop(client.container_status(&running.container).await?),
                }
                times.add(begun.elapsed());
            }
        }
        Ok(times)
    })
}
