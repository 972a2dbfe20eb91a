//! Deaths: of the daemon at rest, by a kill or by request, of a shim, of records, of the whole state folder.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cradle_cri_api::v1;
use rustix::process::Signal;
use v1::{ContainerState, PodSandboxState};

use crate::client::{Client, code, said};
use crate::look::{self, Look};
use crate::node::Node;
use crate::processes::signal;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, HTTPD, STUBBORN};
use crate::suite::Suite;
use crate::until::until;
use crate::{http, processes};

const SOON: Duration = Duration::from_secs(10);

/// From the daemon's start to its first answer.
const START_BOUND: Duration = Duration::from_millis(500);
/// The same while a shim is silent: the others have their time to answer.
const SILENT_START_BOUND: Duration = Duration::from_secs(1);
/// From SIGTERM to the daemon's end.
const END_BOUND: Duration = Duration::from_secs(5);
/// From a shim's death until the daemon tells.
const SHIM_LOSS_BOUND: Duration = Duration::from_secs(1);

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (client, _) = suite.ready(&mut node).await?;
    client.pull(HTTPD).await?;
    let before = Look::take(&node)?;
    let pods = Pods::run(&node, &client).await?;
    killed(suite, &mut node, &pods).await?;
    terminated(suite, &mut node, &pods).await?;
    shim_silent(suite, &mut node, &pods).await?;
    shim_killed(suite, &mut node, &pods).await?;
    pods.remove(&node.client()).await?;
    suite.nothing_is_left("nothing_is_left_after_deaths", &node, &before).await;
    damaged(suite, &mut node).await?;
    state_lost(suite, &mut node, &before).await
}

/// Three pods: one that logs, one that answers, one that waits to be told to end.
struct Pods {
    logging: Running,
    answering: Running,
    ending: Running,
    address: String,
    log: PathBuf,
    shared: PathBuf,
}

impl Pods {
    async fn run(node: &Node, client: &Client) -> Result<Self> {
        let shared = node.shared("ending")?;
        let logging = "i=0; while :; do echo $i; i=$((i+1)); usleep 20000; done";
        let ending = "while [ ! -e /shared/go ]; do usleep 5000; done; exit 7";
        let mut ending = specs::script("c", ending);
        specs::mount(&mut ending, &shared, "/shared");
        let answering = Running::begin(node, client, "answering", &specs::container("c", HTTPD, &[])).await?;
        let address = client.address(&answering.pod).await?;
        let pods = Pods {
            logging: Running::begin(node, client, "logging", &specs::script("c", logging)).await?,
            ending: Running::begin(node, client, "ending", &ending).await?,
            answering,
            address,
            log: node.logs().join("logging/c.log"),
            shared,
        };
        pods.go_on().await?;
        Ok(pods)
    }

    /// The log grows and the network answers.
    async fn go_on(&self) -> Result<()> {
        let lines = || Ok::<_, anyhow::Error>(fs::read_to_string(&self.log)?.lines().count());
        let had = lines()?;
        until(SOON, "more lines in the log", async || {
            ensure!(lines()? > had + 2, "it has {had} lines and gets no more");
            Ok(())
        })
        .await?;
        until(SOON, "an answer of the pod", async || http::get(&self.address, 80).await).await.map(drop)
    }

    async fn remove(self, client: &Client) -> Result<()> {
        for running in [self.logging, self.answering, self.ending] {
            client.remove_pod(&running.pod).await?;
        }
        Ok(())
    }
}

async fn killed(suite: &Suite, node: &mut Node, pods: &Pods) -> Result<()> {
    node.kill()?;
    suite.pass("without_a_daemon_pods_go_on", pods.go_on().await)?;
    let dying = node.shim(&pods.ending.pod)?;
    fs::write(pods.shared.join("go"), "")?;
    let ended = until(SOON, "the end of the container", async || {
        let children = processes::all()?.into_iter().filter(|process| process.parent == dying);
        ensure!(children.count() == 0, "it runs");
        Ok(())
    });
    suite.pass("a_container_ends_without_a_daemon", ended.await)?;
    let took = node.start().await?;
    let client = node.client();
    println!("# from the daemon's start to its first answer with 3 pods: {took:?}");
    suite.holds("the_daemon_is_back_within_half_a_second", took < START_BOUND, format!("{took:?}"));
    let listed = (client.pods().await?.len(), client.containers().await?.len());
    suite.holds("its_first_lists_have_everything", listed == (3, 3), format!("{listed:?}"));
    let status = client.container_status(&pods.ending.container).await?;
    let seen = format!("{} {} {}", status.state().as_str_name(), status.exit_code, status.reason);
    suite.holds("it_knows_the_exit_that_it_did_not_see", seen == "CONTAINER_EXITED 7 Error", seen);
    suite.holds("and_when_it_was", status.finished_at > status.started_at, format!("{status:?}"));
    for (name, of) in [("logging", &pods.logging), ("answering", &pods.answering)] {
        let runs = of.runs(&client).await?;
        suite.holds(&format!("the_{name}_pod_is_as_it_was"), runs, "it does not run");
    }
    suite.pass("pods_never_noticed", pods.go_on().await)?;
    let said_it = client.exec(&pods.logging.container, &["echo", "here"], 10).await;
    suite.holds("commands_run_again", said_it.as_ref().is_ok_and(|it| it.stdout == b"here\n"), said(&said_it));
    let again = client.run_pod(&specs::pod(node, "logging")).await;
    suite.holds("the_same_request_finds_its_pod", again.as_ref().ok() == Some(&pods.logging.pod), said(&again));
    Ok(())
}

async fn terminated(suite: &Suite, node: &mut Node, pods: &Pods) -> Result<()> {
    // A request that would go on for long must not keep the daemon.
    let (client, container) = (node.client(), pods.logging.container.clone());
    let exec = tokio::task::spawn_local(async move { client.exec(&container, &["sleep", "60"], 0).await });
    let client = node.client();
    until(SOON, "the command", async || {
        let found = client.exec(&pods.logging.container, &["pgrep", "sleep"], 5).await?;
        ensure!(found.exit_code == 0, "it does not run yet: {found:?}");
        Ok(())
    })
    .await?;
    let (status, took) = node.terminate().await?;
    println!("# from SIGTERM to the daemon's end with a request in flight: {took:?}");
    suite.holds(
        "sigterm_ends_the_daemon_within_5_s",
        took < END_BOUND && status.success(),
        format!("{status} {took:?}"),
    );
    suite.holds("its_socket_is_gone", !node.socket().exists(), node.socket().display());
    exec.await?.err().context("the command was answered by nobody")?;
    suite.pass("pods_go_on_after_sigterm", pods.go_on().await)?;
    let took = node.start().await?;
    suite.holds("it_is_back_within_half_a_second_again", took < START_BOUND, format!("{took:?}"));
    let (_, took) = node.terminate().await?;
    println!("# from SIGTERM to the daemon's end at rest: {took:?}");
    node.start().await?;
    let runs = pods.logging.runs(&node.client()).await?;
    suite.holds("and_pods_are_as_they_were", runs, "one does not run");
    Ok(())
}

/// A shim that does not answer, for a while, keeps nobody else waiting.
async fn shim_silent(suite: &Suite, node: &mut Node, pods: &Pods) -> Result<()> {
    let shim = node.shim(&pods.logging.pod)?;
    node.kill()?;
    signal(shim, Signal::STOP)?;
    let took = node.start().await;
    let client = node.client();
    let listed = (client.pods().await?.len(), client.containers().await?.len());
    let others = pods.answering.runs(&client).await?;
    signal(shim, Signal::CONT)?;
    let took = took?;
    println!("# from the daemon's start to its first answer with a silent shim: {took:?}");
    suite.holds("a_silent_shim_does_not_keep_the_daemon", took < SILENT_START_BOUND, format!("{took:?}"));
    suite.holds("its_pod_is_listed_all_the_same", listed == (3, 3), format!("{listed:?}"));
    suite.holds("other_pods_are_as_they_were", others, "one does not run");
    let found = until(SOON, "the pod whose shim was silent", async || {
        ensure!(pods.logging.runs(&client).await?, "it does not run");
        Ok(())
    });
    suite.pass("when_it_answers_its_pod_is_as_it_was", found.await)?;
    suite.pass("pods_go_on_after_the_silence", pods.go_on().await)?;
    Ok(())
}

/// Waits until the daemon tells of the shim's death as it must; tells how long that took.
pub async fn loss_is_told(client: &Client, of: &Running) -> Result<Duration> {
    let begun = Instant::now();
    until(SHIM_LOSS_BOUND, "the shim's death", async || {
        let seen = of.states(client).await?;
        ensure!(seen == (PodSandboxState::SandboxNotready, ContainerState::ContainerExited), "{seen:?}");
        let status = client.container_status(&of.container).await?;
        ensure!(status.exit_code == 137 && !status.reason.is_empty() && status.message.contains("shim"), "{status:?}");
        Ok(begun.elapsed())
    })
    .await
}

async fn shim_killed(suite: &Suite, node: &mut Node, pods: &Pods) -> Result<()> {
    let client = node.client();
    let config = specs::pod(node, "orphaned");
    let container = specs::container("c", BUSYBOX, &STUBBORN);
    for (name, dead) in [("with_a_daemon", false), ("without_a_daemon", true)] {
        let lost = Running::begin(node, &client, "orphaned", &container).await?;
        let (shim, process) = (node.shim(&lost.pod)?, client.container_pid(&lost.container).await?);
        if dead {
            node.kill()?;
        }
        signal(shim, Signal::KILL)?;
        if dead {
            node.start().await?;
        }
        let took = suite.pass(&format!("a_shims_death_is_told_{name}"), loss_is_told(&client, &lost).await)?;
        println!("# from a shim's death {name} until it is told: {took:?}");
        let ended = until(SOON, "the end of its container", async || {
            ensure!(!processes::lives(process), "process {process} lives");
            Ok(())
        });
        suite.pass(&format!("its_containers_are_killed_{name}"), ended.await)?;
        let exec = client.exec(&lost.container, &["true"], 5).await;
        suite.holds(
            &format!("it_takes_no_commands_{name}"),
            code(&exec) == tonic::Code::FailedPrecondition,
            said(&exec),
        );
        let next = client.run_pod(&specs::next_attempt(&config)).await;
        let next = suite.pass(&format!("its_pod_is_recreated_{name}"), next)?;
        suite.pass(&format!("its_pod_is_stopped_{name}"), client.stop_pod(&lost.pod).await)?;
        suite.pass(&format!("its_pod_is_removed_{name}"), client.remove_pod(&lost.pod).await)?;
        client.remove_pod(&next).await?;
    }
    suite.pass("other_pods_never_noticed", pods.go_on().await)?;
    Ok(())
}

/// Records that cannot be read are set aside and told, and everything else is there.
async fn damaged(suite: &Suite, node: &mut Node) -> Result<()> {
    let client = node.client();
    let container = specs::container("c", BUSYBOX, &STUBBORN);
    let whole = Running::begin(node, &client, "whole", &container).await?;
    let pod = Running::begin(node, &client, "damaged-pod", &container).await?;
    let part = Running::begin(node, &client, "damaged-container", &container).await?;
    node.kill()?;
    let pods = node.state().join("pods");
    let damage = |path: PathBuf| {
        let mut record = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let at = record.len() / 2;
        record[at] ^= 0x20;
        fs::write(&path, record).with_context(|| format!("writing {}", path.display()))
    };
    damage(pods.join(&pod.pod).join("pod"))?;
    damage(pods.join(&part.pod).join("containers").join(&part.container))?;
    let started = node.start().await;
    suite.pass("damaged_records_do_not_stop_the_daemon", started)?;
    let runs = whole.runs(&client).await?;
    suite.holds("what_is_whole_is_as_it_was", runs, "it does not run");
    let aside = fs::read_dir(node.state().join("damaged"))?.count();
    suite.holds("damaged_records_are_set_aside", aside == 2, aside);
    let info = format!("{:?}", client.status().await?.info);
    let told = info.contains(&pod.pod) && info.contains(&part.container);
    suite.holds("and_told_by_status", told, info);
    let listed: Vec<String> = client.pods().await?.into_iter().map(|pod| pod.id).collect();
    suite.holds(
        "a_pod_without_a_record_is_not_there",
        listed.len() == 2 && !listed.contains(&pod.pod),
        format!("{listed:?}"),
    );
    let status = client.container_status(&part.container).await;
    suite.holds("nor_is_a_container", code(&status) == tonic::Code::NotFound, said(&status));
    let ended = until(SOON, "the end of what has no record", async || {
        ensure!(node.shim(&pod.pod).is_err(), "the shim of the damaged pod lives");
        let shim = node.shim(&part.pod)?;
        let children = processes::all()?.into_iter().filter(|process| process.parent == shim).count();
        ensure!(children == 0, "the container without a record lives");
        Ok(())
    });
    suite.pass("what_has_no_record_is_ended", ended.await)?;
    let again = Running::begin(node, &client, "damaged-pod", &container).await;
    let again = suite.pass("its_name_is_free", again)?;
    for running in [&whole, &part, &again] {
        client.remove_pod(&running.pod).await?;
    }
    fs::remove_dir_all(node.state().join("damaged"))?;
    fs::create_dir(node.state().join("damaged"))?;
    Ok(())
}

/// As after a reboot: no process, no control group and no state, but images and leases.
async fn state_lost(suite: &Suite, node: &mut Node, before: &Look) -> Result<()> {
    let client = node.client();
    let container = specs::container("c", BUSYBOX, &STUBBORN);
    for name in ["one", "two"] {
        Running::begin(node, &client, name, &container).await?;
    }
    let images = client.images().await?.len();
    node.kill()?;
    for (_, shim) in node.shims()? {
        signal(shim, Signal::KILL)?;
    }
    until(SOON, "the end of all processes", async || {
        processes::reap_adopted()?;
        let left = processes::descendants()?;
        // A container whose shim was killed waits for a daemon to kill it; a reboot does not.
        for process in left.iter().filter(|process| !process.is_dead()) {
            let _ = signal(process.pid, Signal::KILL);
        }
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    look::remove_cgroups(node.name());
    fs::remove_dir_all(node.state())?;
    node.start().await?;
    let listed = (client.pods().await?.len(), client.containers().await?.len());
    suite.holds("after_a_reboot_no_pod_is_there", listed == (0, 0), format!("{listed:?}"));
    let kept = client.images().await?.len();
    suite.holds("images_are_kept", kept == images, format!("{kept} of {images}"));
    let again = Running::begin(node, &client, "one", &container).await;
    let again = suite.pass("the_same_pod_runs_again", again)?;
    client.remove_pod(&again.pod).await?;
    suite.nothing_is_left("leases_and_layers_of_the_earlier_life_are_released", node, before).await;
    Ok(())
}
