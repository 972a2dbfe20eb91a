//! A volume on a file system that never answers: the container that wants it waits, within a bound, and nobody else does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tonic::Code;

use crate::client::{Answer, Client, code, said};
use crate::fuse::SilentFilesystem;
use crate::node::Node;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};
use crate::suite::Suite;
use crate::until::until;

/// What does not concern the volume is answered within this time.
const QUICK: Duration = Duration::from_secs(1);
/// A stop of the pod that is concerned kills what hangs, and says what it could not.
const STOPPED: Duration = Duration::from_secs(35);
/// Bound of a start (the daemon's own is 60 s).
const STARTED: Duration = Duration::from_secs(75);
/// More than the daemon has threads for calls that block.
const MANY: usize = 40;

const SOON: Duration = Duration::from_secs(10);

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (client, before) = suite.ready(&mut node).await?;
    let volume = node.shared("silent")?;
    let filesystem = match SilentFilesystem::mount(&volume) {
        Ok(filesystem) => filesystem,
        Err(error) => {
            suite.skip("a_stuck_volume", &format!("{error:#}"));
            return Ok(());
        }
    };
    let concerned = specs::pod(&node, "concerned");
    let pod = client.run_pod(&concerned).await?;
    let neighbour = client.create(&pod, &specs::container("neighbour", BUSYBOX, &OBEDIENT), &concerned).await?;
    client.start(&neighbour).await?;
    Running::is_ready(&node, "concerned", "neighbour").await?;
    let other = Running::begin(&node, &client, "other", &specs::container("c", BUSYBOX, &OBEDIENT)).await?;
    let mut starts = Vec::new();
    for number in 0..MANY {
        let mut config = specs::container(&format!("stuck-{number}"), BUSYBOX, &OBEDIENT);
        // The volume itself, or something in it.
        let source = if number % 2 == 0 { filesystem.path().to_owned() } else { filesystem.path().join("data") };
        specs::mount(&mut config, &source, "/mnt");
        let (client, pod, concerned) = (node.client(), pod.clone(), concerned.clone());
        starts.push(tokio::task::spawn_local(async move {
            let id = client.create(&pod, &config, &concerned).await?;
            client.start(&id).await
        }));
    }
    let asked = until(SOON, "a request to the volume", async || {
        ensure!(filesystem.waiting() > 0, "nobody asks for it");
        Ok(())
    });
    suite.pass("the_volume_is_asked_and_does_not_answer", asked.await)?;
    others_go_on(suite, &node, &client, &neighbour, &other).await;
    let begun = Instant::now();
    if suite.long {
        for start in starts.drain(..) {
            let answer = tokio::time::timeout(STARTED, start).await.context("a start hangs")??;
            let told = answer.as_ref().err().is_some_and(|status| !status.message().is_empty());
            ensure!(told && begun.elapsed() < STARTED, "{}", said(&answer));
        }
        println!("# starts that wanted the volume were given up after {:?}", begun.elapsed());
        suite.holds("starts_that_hang_are_given_up", true, "");
        others_go_on(suite, &node, &client, &neighbour, &other).await;
    }
    let _ = suite.pass("a_neighbour_in_the_pod_stops", quick("stop", client.stop(&neighbour, 20)).await);
    let _ = suite.pass("other_pods_stop", quick("stop", client.stop_pod(&other.pod)).await);
    node.kill()?;
    let took = suite.pass("a_daemon_comes_back_beside_stuck_starts", node.start().await)?;
    println!("# from the daemon's start to its first answer with stuck starts: {took:?}");
    suite.holds("and_soon", took < QUICK, format!("{took:?}"));
    let _ = suite.pass("new_pods_live_after_that", quick("a life", life(&node, &client)).await);
    let begun = Instant::now();
    let stopped = client.within(STOPPED).stop_pod(&pod).await;
    println!("# stop of the pod with {MANY} stuck starts: {:?}: {}", begun.elapsed(), said(&stopped));
    suite.holds("its_pods_stop_is_answered", answered(&stopped), said(&stopped));
    let begun = Instant::now();
    let removed = client.within(STOPPED).remove_pod(&pod).await;
    println!("# removal of it: {:?}: {}", begun.elapsed(), said(&removed));
    suite.holds("its_pods_removal_is_answered", answered(&removed), said(&removed));
    let info = format!("{:?}", client.status().await?.info);
    suite.holds("what_is_not_undone_yet_is_told_by_status", info.contains(&pod), info);
    let again = quick("a pod", client.run_pod(&specs::next_attempt(&concerned))).await;
    let again = suite.pass("its_pod_can_be_recreated_meanwhile", again)?;
    client.remove_pod(&again).await?;
    drop(filesystem);
    for start in starts {
        let answer = tokio::time::timeout(STARTED, start).await.context("a start hangs")??;
        ensure!(answer.is_err(), "a container runs in a removed pod");
    }
    suite.holds("all_starts_are_answered", true, "");
    client.remove_pod(&other.pod).await?;
    suite.nothing_is_left("nothing_is_left_of_stuck_starts", &node, &before).await;
    Ok(())
}

/// Whether the daemon said anything: a success, or why not.
fn answered(answer: &Answer<()>) -> bool {
    !matches!(code(answer), Code::DeadlineExceeded | Code::Cancelled)
}

/// The answer, if it comes quickly.
async fn quick<T>(what: &str, ask: impl Future<Output = Answer<T>>) -> Result<T> {
    let answer = tokio::time::timeout(QUICK, ask).await;
    Ok(answer.with_context(|| format!("{what}: no answer within {QUICK:?}"))??)
}

async fn life(node: &Node, client: &Client) -> Answer<()> {
    let new = Running::begin(node, client, "new", &specs::container("c", BUSYBOX, &OBEDIENT)).await?;
    client.stop_pod(&new.pod).await?;
    client.remove_pod(&new.pod).await
}

async fn others_go_on(suite: &Suite, node: &Node, client: &Client, neighbour: &str, other: &Running) {
    let lists = async { Ok((client.pods().await?, client.containers().await?)) };
    // What does not hold has been printed; the rest is shown all the same.
    let _ = suite.pass("lists_are_answered", quick("lists", lists).await);
    let _ = suite.pass("status_is_answered", quick("status", client.status()).await);
    let _ = suite.pass("a_neighbour_in_the_pod_executes", quick("exec", client.exec(neighbour, &["true"], 20)).await);
    let _ = suite.pass("other_pods_execute", quick("exec", client.exec(&other.container, &["true"], 20)).await);
    let _ = suite.pass("new_pods_live", quick("a life", life(node, client)).await);
}
