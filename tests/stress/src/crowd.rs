//! 100 pods at once: all run, each executes a command, all are removed. What they cost is measured at 50.

use std::time::Instant;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::client::{Answer, Client};
use crate::figures;
use crate::node::Node;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};
use crate::suite::Suite;

const HALF: usize = 50;
/// Connections that the requests are spread over.
const CLIENTS: usize = 10;
/// Of a shim, at 50 pods.
const SHIM_KIB_MAX: u64 = 200;
/// Of the daemon, at 50 pods.
const DAEMON_KIB_MAX: u64 = 15 * 1024;

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (_, before) = suite.ready(&mut node).await?;
    let clients: Vec<Client> = (0..CLIENTS).map(|_| node.client()).collect();
    for client in &clients {
        // Connects.
        client.version().await?;
    }
    let before = before.with_descriptors_of(&node)?;
    let mut pods = start(suite, &node, &clients, 0..HALF).await?;
    memory(suite, &node)?;
    pods.extend(start(suite, &node, &clients, HALF..2 * HALF).await?);
    everything_runs(suite, &clients[0], &pods).await?;
    let begun = Instant::now();
    let execs = each(&clients, pods.clone(), async |client, running| {
        let said = client.exec(&running.container, &["cat", "/etc/hostname"], 60).await?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    });
    let mut names = suite.pass("each_executes_a_command", execs.await)?;
    println!("# {} commands at once: {:?}", pods.len(), begun.elapsed());
    names.sort();
    names.dedup();
    suite.holds("each_in_its_own_pod", names.len() == pods.len(), names.len());
    let begun = Instant::now();
    let removed = each(&clients, pods, async |client, running| {
        client.stop_pod(&running.pod).await?;
        client.remove_pod(&running.pod).await
    });
    suite.pass("all_are_removed_at_once", removed.await)?;
    println!("# {} pods stopped and removed at once: {:?}", 2 * HALF, begun.elapsed());
    suite.nothing_is_left("nothing_is_left_of_100_pods", &node, &before).await;
    Ok(())
}

/// Does something for each item at once, over all connections.
async fn each<T: 'static, R: 'static, F: Future<Output = Answer<R>>>(
    clients: &[Client],
    items: Vec<T>,
    act: impl Fn(Client, T) -> F + Copy + 'static,
) -> Result<Vec<R>> {
    let mut tasks = JoinSet::new();
    for (at, item) in items.into_iter().enumerate() {
        let client = clients[at % clients.len()].clone();
        tasks.spawn_local(async move { act(client, item).await });
    }
    let mut done = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        done.push(ended?.map_err(|status| anyhow::anyhow!("{:?}: {}", status.code(), status.message()))?);
    }
    Ok(done)
}

async fn start(
    suite: &Suite,
    node: &Node,
    clients: &[Client],
    numbers: std::ops::Range<usize>,
) -> Result<Vec<Running>> {
    let begun = Instant::now();
    let (first, last) = (numbers.start, numbers.end);
    let items: Vec<_> = numbers.map(|number| (node.home().clone(), number)).collect();
    let started = each(clients, items, async |client, (home, number)| {
        let container = specs::container("c", BUSYBOX, &OBEDIENT);
        Running::begin(&home, &client, &format!("crowd-{number}"), &container).await
    });
    let pods = suite.pass(&format!("pods_{first}_to_{last}_start_at_once"), started.await)?;
    println!("# pods {first} to {last} started at once: {:?}", begun.elapsed());
    Ok(pods)
}

async fn everything_runs(suite: &Suite, client: &Client, pods: &[Running]) -> Result<()> {
    let listed = client.pods().await?;
    let ready = listed.iter().filter(|pod| pod.state() == cradle_cri_api::v1::PodSandboxState::SandboxReady).count();
    suite.holds("all_pods_are_ready", ready == pods.len(), format!("{ready} of {}", pods.len()));
    let listed = client.containers().await?;
    let running = cradle_cri_api::v1::ContainerState::ContainerRunning;
    let running = listed.iter().filter(|container| container.state() == running).count();
    suite.holds("all_containers_run", running == pods.len(), format!("{running} of {}", pods.len()));
    let mut addresses = Vec::new();
    for running in pods {
        addresses.push(client.address(&running.pod).await?);
    }
    addresses.sort();
    addresses.dedup();
    suite.holds("each_pod_has_an_address_of_its_own", addresses.len() == pods.len(), addresses.len());
    Ok(())
}

fn memory(suite: &Suite, node: &Node) -> Result<()> {
    let shims = node.shims()?;
    let mut total = 0;
    for (_, shim) in &shims {
        total += figures::memory(*shim)?.proportional_kib;
    }
    let count = u64::try_from(shims.len())?;
    let shim = total.checked_div(count).context("there are no shims")?;
    let daemon = figures::memory(node.pid()?)?;
    let (own, resident) = (daemon.proportional_kib, daemon.resident_kib);
    println!("# with {count} pods: a shim {shim} KiB PSS, the daemon {own} KiB PSS and {resident} KiB RSS");
    suite.holds("a_shim_takes_at_most_200_kib", shim <= SHIM_KIB_MAX, format!("{shim} KiB"));
    suite.holds("the_daemon_takes_at_most_15_mib", own <= DAEMON_KIB_MAX, format!("{own} KiB"));
    Ok(())
}
