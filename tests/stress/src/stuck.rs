//! A volume on a file system that never answers: the container that wants it waits, within a bound, and nobody else does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cradle_cri_api::v1;
use tokio::task::JoinHandle;
use tonic::Code;
use v1::security_profile::ProfileType;

use crate::client::{Answer, Client, code, said};
use crate::fuse::SilentFilesystem;
use crate::node::Node;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};
use crate::suite::Suite;
use crate::until::until;

/// What does not concern the volume is answered within this time.
const QUICK: Duration = Duration::from_secs(1);
/// Whoever stops what is concerned kills what can be killed, and is told what cannot.
const STOPPED: Duration = Duration::from_secs(20);
/// Bound of a start.
const STARTED: Duration = Duration::from_secs(75);
/// More than the daemon has threads to work with.
const FEW: usize = 6;
/// More than it has threads for calls that block.
const MANY: usize = 40;

const SOON: Duration = Duration::from_secs(10);

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (client, before) = suite.ready(&mut node).await?;
    let volume = match SilentFilesystem::mount(&node.shared("volume")?) {
        Ok(volume) => volume,
        Err(error) => {
            suite.skip("a_stuck_volume", &format!("{error:#}"));
            return Ok(());
        }
    };
    let neighbourhood = Neighbourhood::begin(&node, &client).await?;
    let starts = neighbourhood.starts(&node, &volume);
    let asked = until(SOON, "a request to the volume", async || {
        ensure!(volume.waiting() > 0, "nobody asks for it");
        Ok(())
    });
    suite.pass("the_volume_is_asked_and_does_not_answer", asked.await)?;
    neighbourhood.goes_on(suite, &node, &client).await;
    neighbourhood.profiles(suite, &node, &client).await?;
    if suite.long {
        given_up(suite, starts).await?;
        neighbourhood.goes_on(suite, &node, &client).await;
    } else {
        neighbourhood.stops(suite, &client).await?;
    }
    restarted(suite, &mut node, &client).await?;
    neighbourhood.ends(suite, &client).await?;
    drop(volume);
    suite.nothing_is_left("nothing_is_left_of_stuck_starts", &node, &before).await;
    Ok(())
}

/// The answer, if it comes quickly.
async fn quick<T>(what: &str, ask: impl Future<Output = Answer<T>>) -> Result<T> {
    let answer = tokio::time::timeout(QUICK, ask).await;
    Ok(answer.with_context(|| format!("{what}: no answer within {QUICK:?}"))??)
}

/// Whether the daemon said anything in time: a success, or why not.
fn answered(suite: &Suite, name: &str, begun: Instant, answer: &Answer<()>) {
    println!("# {name}: {:?}: {}", begun.elapsed(), said(answer));
    suite.holds(name, begun.elapsed() < STOPPED, said(answer));
}

async fn life(node: &Node, client: &Client) -> Answer<()> {
    let new = Running::begin(node, client, "new", &specs::container("c", BUSYBOX, &OBEDIENT)).await?;
    client.stop_pod(&new.pod).await?;
    client.remove_pod(&new.pod).await
}

/// Starts that nobody stops end by themselves.
async fn given_up(suite: &Suite, starts: Vec<JoinHandle<Answer<()>>>) -> Result<()> {
    let begun = Instant::now();
    for start in starts {
        let answer = tokio::time::timeout(STARTED, start).await.context("a start hangs")??;
        ensure!(answer.is_err(), "a container runs without its volume");
    }
    println!("# starts that wanted the volume were given up after {:?}", begun.elapsed());
    suite.holds("starts_that_hang_are_given_up", true, "");
    Ok(())
}

async fn restarted(suite: &Suite, node: &mut Node, client: &Client) -> Result<()> {
    node.kill()?;
    let took = suite.pass("a_daemon_comes_back_beside_stuck_starts", node.start().await)?;
    println!("# from the daemon's start to its first answer with stuck starts: {took:?}");
    suite.holds("and_soon", took < QUICK, format!("{took:?}"));
    let _ = suite.pass("new_pods_live_after_that", quick("a life", life(node, client)).await);
    Ok(())
}

/// A pod whose containers want the volume, with one that does not, and a pod beside it.
struct Neighbourhood {
    config: v1::PodSandboxConfig,
    pod: String,
    neighbour: String,
    other: Running,
}

impl Neighbourhood {
    async fn begin(node: &Node, client: &Client) -> Result<Self> {
        let config = specs::pod(node, "concerned");
        let container = specs::container("neighbour", BUSYBOX, &OBEDIENT);
        let Running { pod, container: neighbour } = Running::begin_in(client, &config, &container).await?;
        Running::is_ready(node, "concerned", "neighbour").await?;
        let other = Running::begin(node, client, "other", &specs::container("c", BUSYBOX, &OBEDIENT)).await?;
        Ok(Neighbourhood { config, pod, neighbour, other })
    }

    /// Containers that want the volume itself, or something in it.
    fn starts(&self, node: &Node, volume: &SilentFilesystem) -> Vec<JoinHandle<Answer<()>>> {
        let start = |number| {
            let mut container = specs::container(&format!("stuck-{number}"), BUSYBOX, &OBEDIENT);
            let source = if number % 2 == 0 { volume.path().to_owned() } else { volume.path().join("data") };
            specs::mount(&mut container, &source, "/mnt");
            let (client, pod, config) = (node.client(), self.pod.clone(), self.config.clone());
            tokio::task::spawn_local(async move {
                let id = client.create(&pod, &container, &config).await?;
                client.start(&id).await
            })
        };
        (0..MANY).map(start).collect()
    }

    async fn goes_on(&self, suite: &Suite, node: &Node, client: &Client) {
        let lists = async { Ok((client.pods().await?, client.containers().await?)) };
        let (neighbour, other) = (&self.neighbour, &self.other.container);
        // What does not hold has been printed; the rest is shown all the same.
        let _ = suite.pass("lists_are_answered", quick("lists", lists).await);
        let _ = suite.pass("status_is_answered", quick("status", client.status()).await);
        let _ =
            suite.pass("a_neighbour_in_the_pod_executes", quick("exec", client.exec(neighbour, &["true"], 20)).await);
        let _ = suite.pass("other_pods_execute", quick("exec", client.exec(other, &["true"], 20)).await);
        let _ = suite.pass("new_pods_live", quick("a life", life(node, client)).await);
    }

    /// Seccomp profiles are read by the daemon itself, when a container is created.
    async fn profiles(&self, suite: &Suite, node: &Node, client: &Client) -> Result<()> {
        let profiles = SilentFilesystem::mount(&node.shared("profiles")?)?;
        let create = |number| {
            let mut container = specs::container(&format!("profile-{number}"), BUSYBOX, &OBEDIENT);
            specs::security(&mut container).seccomp = Some(v1::SecurityProfile {
                profile_type: ProfileType::Localhost.into(),
                localhost_ref: profiles.path().join("profile.json").display().to_string(),
            });
            let (client, pod, config) = (node.client(), self.pod.clone(), self.config.clone());
            tokio::task::spawn_local(async move { client.create(&pod, &container, &config).await })
        };
        let creations: Vec<_> = (0..FEW).map(create).collect();
        let _ = suite.pass("new_pods_live_beside_stuck_creations", quick("a life", life(node, client)).await);
        let mut refused = Ok(());
        for creation in creations {
            let answer = creation.await?;
            if code(&answer) != Code::DeadlineExceeded || !said(&answer).contains("profile.json") {
                refused = Err(anyhow::anyhow!(said(&answer)));
            }
        }
        suite.pass("a_profile_that_is_never_read_is_refused", refused)
    }

    /// Stops of single containers.
    async fn stops(&self, suite: &Suite, client: &Client) -> Result<()> {
        let _ = suite.pass("a_neighbour_in_the_pod_stops", quick("stop", client.stop(&self.neighbour, 20)).await);
        let listed = client.containers().await?;
        let is_stuck = |each: &&v1::Container| each.metadata.as_ref().is_some_and(|it| it.name == "stuck-0");
        let stuck = listed.iter().find(is_stuck).context("the stuck container is not listed")?;
        let begun = Instant::now();
        answered(suite, "a_stop_of_a_stuck_container_is_answered", begun, &client.stop(&stuck.id, 0).await);
        Ok(())
    }

    /// The end of both pods, while the volume is still silent.
    async fn ends(&self, suite: &Suite, client: &Client) -> Result<()> {
        let _ = suite.pass("other_pods_stop", quick("stop", client.stop_pod(&self.other.pod)).await);
        client.remove_pod(&self.other.pod).await?;
        let begun = Instant::now();
        answered(suite, "a_stop_of_the_pod_is_answered", begun, &client.stop_pod(&self.pod).await);
        let begun = Instant::now();
        answered(suite, "a_removal_of_the_pod_is_answered", begun, &client.remove_pod(&self.pod).await);
        let info = format!("{:?}", client.status().await?.info);
        suite.holds("what_is_not_undone_yet_is_told_by_status", info.contains(&self.pod), info);
        let again = quick("a pod", client.run_pod(&specs::next_attempt(&self.config))).await;
        let again = suite.pass("the_pod_can_be_recreated_meanwhile", again)?;
        client.remove_pod(&again).await?;
        Ok(())
    }
}
