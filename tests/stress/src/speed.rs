//! How long each request takes, one after another on a machine that does nothing else.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::Client;
use crate::figures::Times;
use crate::node::Node;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};
use crate::suite::Suite;

const LIVES: usize = 40;
const LIVES_LONG: usize = 400;

const REQUESTS: [&str; 8] = [
    "RunPodSandbox",
    "CreateContainer",
    "StartContainer",
    "ExecSync",
    "StopContainer",
    "RemoveContainer",
    "StopPodSandbox",
    "RemovePodSandbox",
];

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (client, before) = suite.ready(&mut node).await?;
    let lives = if suite.long { LIVES_LONG } else { LIVES };
    for network in ["host", "pod"] {
        // The first one finds nothing ready.
        life(&node, &client, network, 0).await?;
        let mut times = vec![Times::default(); REQUESTS.len()];
        let mut start_up = Times::default();
        for number in 1..=lives {
            let taken = life(&node, &client, network, number).await?;
            start_up.add(taken[..3].iter().sum());
            times.iter_mut().zip(taken).for_each(|(times, taken)| times.add(taken));
        }
        for (name, times) in REQUESTS.iter().zip(&times) {
            println!("# {network:4} network  {name:16} {times}");
        }
        println!("# {network:4} network  {:16} {start_up}", "start-up");
        suite.holds(&format!("requests_are_timed_on_the_{network}_network"), start_up.count() == lives, "");
    }
    suite.nothing_is_left("nothing_is_left_after_timing", &node, &before).await;
    Ok(())
}

/// One life; the time of each request.
async fn life(node: &Node, client: &Client, network: &str, number: usize) -> Result<[Duration; REQUESTS.len()]> {
    let name = format!("speed-{network}-{number}");
    let config = if network == "host" { specs::host_pod(node, &name) } else { specs::pod(node, &name) };
    let mut clock = Clock { times: [Duration::ZERO; REQUESTS.len()], at: Instant::now() };
    let pod = client.run_pod(&config).await?;
    clock.took(0);
    let container = client.create(&pod, &specs::container("c", BUSYBOX, &OBEDIENT), &config).await?;
    clock.took(1);
    client.start(&container).await?;
    clock.took(2);
    client.exec(&container, &["true"], 20).await?;
    clock.took(3);
    Running::is_ready(node, &name, "c").await?;
    clock.at = Instant::now();
    client.stop(&container, 20).await?;
    clock.took(4);
    client.remove(&container).await?;
    clock.took(5);
    client.stop_pod(&pod).await?;
    clock.took(6);
    client.remove_pod(&pod).await?;
    clock.took(7);
    Ok(clock.times)
}

/// The times of one life.
struct Clock {
    times: [Duration; REQUESTS.len()],
    at: Instant,
}

impl Clock {
    /// The request with this number has been answered, and the next one begins.
    fn took(&mut self, number: usize) {
        self.times[number] = self.at.elapsed();
        self.at = Instant::now();
    }
}
