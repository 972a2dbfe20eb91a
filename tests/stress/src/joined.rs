//! The same request from many clients, from a client that gave up, and requests in any order at once: they end in the one
//! state that the CRI demands.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cradle_cri_api::v1;
use tokio::task::JoinSet;
use tonic::Code;

use crate::client::{Answer, Client, code, said};
use crate::node::Node;
use crate::random::Random;
use crate::specs::{self, BUSYBOX, OBEDIENT, STUBBORN};
use crate::suite::Suite;

const CLIENTS: usize = 20;
const ROUNDS: usize = 20;
const ROUNDS_LONG: usize = 500;
/// Every request is answered within this time, whatever else is asked.
const ANSWERED: Duration = Duration::from_secs(60);

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (_, before) = suite.ready(&mut node).await?;
    let clients: Vec<Client> = (0..CLIENTS).map(|_| node.client()).collect();
    for client in &clients {
        // Connects.
        client.version().await?;
    }
    let before = before.with_descriptors_of(&node)?;
    same(suite, &node, &clients).await?;
    different(suite, &node, &clients[0]).await?;
    given_up(suite, &node, &clients[0]).await?;
    let rounds = if suite.long { ROUNDS_LONG } else { ROUNDS };
    let mut random = suite.random();
    let mut mixed = Ok(());
    for round in 0..rounds {
        mixed = any_order(&node, &clients, &mut random, round).await;
        if mixed.is_err() {
            break;
        }
    }
    suite.pass("any_order_ends_in_the_state_of_the_cri", mixed)?;
    println!("# {rounds} rounds of requests in any order");
    suite.nothing_is_left("nothing_is_left_of_joined_requests", &node, &before).await;
    Ok(())
}

/// Sends the same from all clients at once; gives the different answers.
async fn from_all<F: Future<Output = Answer<String>> + 'static>(
    clients: &[Client],
    ask: impl Fn(Client) -> F,
) -> Result<Vec<String>> {
    let mut asked = JoinSet::new();
    for client in clients {
        asked.spawn_local(ask(client.clone()));
    }
    let mut ids = Vec::new();
    while let Some(answer) = asked.join_next().await {
        ids.push(answer??);
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

async fn same(suite: &Suite, node: &Node, clients: &[Client]) -> Result<()> {
    let config = specs::pod(node, "same");
    let pods = from_all(clients, |client| {
        let config = config.clone();
        async move { client.run_pod(&config).await }
    });
    let pods = suite.pass("all_who_ask_for_a_pod_are_answered", pods.await)?;
    suite.holds("and_get_one", pods.len() == 1, pods.len());
    let (pod, container) = (&pods[0], specs::container("c", BUSYBOX, &OBEDIENT));
    let containers = from_all(clients, |client| {
        let (pod, container, config) = (pod.clone(), container.clone(), config.clone());
        async move { client.create(&pod, &container, &config).await }
    });
    let containers = suite.pass("all_who_ask_for_a_container_are_answered", containers.await)?;
    suite.holds("and_get_one_too", containers.len() == 1, containers.len());
    let listed = (clients[0].pods().await?.len(), clients[0].containers().await?.len());
    suite.holds("there_is_one_of_each", listed == (1, 1), format!("{listed:?}"));
    let removed = from_all(clients, |client| {
        let pod = pod.clone();
        async move { client.remove_pod(&pod).await.map(|()| pod) }
    });
    suite.pass("all_may_remove_it", removed.await)?;
    Ok(())
}

async fn different(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    let config = specs::pod(node, "different");
    let pod = client.run_pod(&config).await?;
    let mut other = config.clone();
    other.hostname = "elsewhere".to_owned();
    let answer = client.run_pod(&other).await;
    let told = |answer: &Answer<String>, words: &[&str]| {
        code(answer) == Code::AlreadyExists
            && answer.as_ref().err().is_some_and(|status| words.iter().all(|word| status.message().contains(word)))
    };
    let right = told(&answer, &["hostname", "\"different\"", "\"elsewhere\"", &pod]);
    suite.holds("another_pod_under_the_same_key_is_told_the_differences", right, said(&answer));
    let container = specs::container("c", BUSYBOX, &OBEDIENT);
    let id = client.create(&pod, &container, &config).await?;
    let mut other = container.clone();
    other.working_dir = "/tmp".to_owned();
    let answer = client.create(&pod, &other, &config).await;
    let right = told(&answer, &["working_dir", "\"/tmp\"", &id]);
    suite.holds("another_container_under_the_same_key_is_told_the_differences", right, said(&answer));
    client.remove(&id).await?;
    let answer = client.create(&pod, &other, &config).await;
    suite.holds("after_a_removal_the_key_is_free", answer.is_ok(), said(&answer));
    client.remove_pod(&pod).await?;
    Ok(())
}

/// Clients that give up after a moment, and ask again.
async fn given_up(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    let mut pods = Vec::new();
    let mut late = 0;
    let found = async {
        for ms in [1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30] {
            let hasty = client.within(Duration::from_millis(ms));
            let config = specs::pod(node, &format!("given-up-{}", pods.len()));
            let early = hasty.run_pod(&config).await;
            let pod = client.run_pod(&config).await.with_context(|| format!("after giving up at {ms} ms"))?;
            ensure!(early.as_ref().map_or(true, |early| *early == pod), "first {early:?}, then {pod}");
            let container = specs::container("c", BUSYBOX, &STUBBORN);
            let early_container = hasty.create(&pod, &container, &config).await;
            let id = client.create(&pod, &container, &config).await?;
            ensure!(
                early_container.as_ref().map_or(true, |early| *early == id),
                "first {early_container:?}, then {id}"
            );
            late += usize::from(early.is_err()) + usize::from(early_container.is_err());
            // Whoever gives up starting it or stopping it finds it done.
            let _ = hasty.start(&id).await;
            let started = client.start(&id).await;
            ensure!(matches!(code(&started), Code::Ok | Code::FailedPrecondition), "{}", said(&started));
            let state = client.container_status(&id).await?.state();
            ensure!(state == v1::ContainerState::ContainerRunning, "after two starts it is {}", state.as_str_name());
            let _ = hasty.stop(&id, 0).await;
            client.stop(&id, 0).await?;
            pods.push(pod);
        }
        Ok::<_, anyhow::Error>(())
    };
    suite.pass("who_gave_up_and_asks_again_gets_the_same", found.await)?;
    println!("# {late} requests were given up");
    suite.holds("some_did_give_up", late > 0, late);
    let listed = client.pods().await?.len();
    suite.holds("no_pod_is_there_twice", listed == pods.len(), format!("{listed} for {}", pods.len()));
    for pod in pods {
        let _ = client.within(Duration::from_millis(1)).remove_pod(&pod).await;
        client.remove_pod(&pod).await?;
    }
    Ok(())
}

/// What can be asked of a pod and its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Start,
    Stop(i64),
    Remove,
    Exec,
    StopPod,
    RemovePod,
    Look,
}

/// Many requests about one pod at once. Stops and removals succeed always; what a success promises holds from then on.
async fn any_order(node: &Node, clients: &[Client], random: &mut Random, round: usize) -> Result<()> {
    let config = specs::pod(node, &format!("any-{round}"));
    let pod = clients[0].run_pod(&config).await?;
    let command: &[&str] = if random.once_in(2) { &OBEDIENT } else { &STUBBORN };
    let container = clients[0].create(&pod, &specs::container("c", BUSYBOX, command), &config).await?;
    let mut asks = vec![Ask::Start, Ask::Start, Ask::Stop(0), Ask::Stop(1), Ask::Exec, Ask::Look, Ask::Look];
    asks.extend([Ask::Remove, Ask::Remove].into_iter().filter(|_| random.once_in(2)));
    asks.extend([Ask::StopPod, Ask::StopPod, Ask::RemovePod].into_iter().filter(|_| random.once_in(2)));
    random.shuffle(&mut asks);
    let ids = Rc::new((pod, container));
    let mut asked = JoinSet::new();
    for (at, ask) in asks.iter().copied().enumerate() {
        let (client, ids, pause) = (clients[at].clone(), ids.clone(), random.milliseconds(0..30));
        asked.spawn_local(async move {
            // Not a wait for anything: requests shall meet at all stages of each other.
            tokio::time::sleep(pause).await;
            tokio::time::timeout(ANSWERED, one(&client, &ids, ask)).await.with_context(|| format!("{ask:?} hangs"))?
        });
    }
    while let Some(ended) = asked.join_next().await {
        ended?.with_context(|| format!("round {round} of {asks:?}"))?;
    }
    ends(&clients[0], &ids, &asks).await.with_context(|| format!("after round {round} of {asks:?}"))
}

async fn one(client: &Client, ids: &(String, String), ask: Ask) -> Result<()> {
    let (pod, container) = ids;
    let allowed = |answer: Answer<()>, codes: &[Code]| {
        ensure!(answer.is_ok() || codes.contains(&code(&answer)), "{ask:?}: {}", said(&answer));
        Ok(())
    };
    match ask {
        // One that its pod's end overtakes finds the shim gone.
        Ask::Start => {
            allowed(client.start(container).await, &[Code::FailedPrecondition, Code::NotFound, Code::Unavailable])
        }
        // An exec that is cut off by the end of its container has been killed, or its shim is gone.
        Ask::Exec => allowed(
            client.exec(container, &["true"], 20).await.map(drop),
            &[Code::FailedPrecondition, Code::NotFound, Code::Unavailable],
        ),
        Ask::Look => {
            allowed(client.container_status(container).await.map(drop), &[Code::NotFound])?;
            allowed(client.pod_status(pod).await.map(drop), &[Code::NotFound])
        }
        Ask::Stop(timeout) => allowed(client.stop(container, timeout).await, &[]),
        Ask::Remove => {
            allowed(client.remove(container).await, &[])?;
            let gone = client.container_status(container).await;
            ensure!(code(&gone) == Code::NotFound, "after its removal: {}", said(&gone));
            Ok(())
        }
        Ask::StopPod => {
            allowed(client.stop_pod(pod).await, &[])?;
            let state = client.pod_status(pod).await;
            let ready = state.as_ref().is_ok_and(|status| status.state() == v1::PodSandboxState::SandboxReady);
            ensure!(!ready, "after its stop the pod is ready");
            let state = client.container_status(container).await;
            let runs = state.as_ref().is_ok_and(|it| it.state() == v1::ContainerState::ContainerRunning);
            ensure!(!runs, "after the stop of its pod the container runs");
            Ok(())
        }
        Ask::RemovePod => {
            allowed(client.remove_pod(pod).await, &[])?;
            let gone = client.pod_status(pod).await;
            ensure!(code(&gone) == Code::NotFound, "after its removal: {}", said(&gone));
            Ok(())
        }
    }
}

/// The state at the end is that of the strongest request; then everything goes.
async fn ends(client: &Client, ids: &(String, String), asks: &[Ask]) -> Result<()> {
    let (pod, container) = ids;
    let status = client.container_status(container).await;
    if asks.contains(&Ask::Remove) || asks.contains(&Ask::RemovePod) {
        ensure!(code(&status) == Code::NotFound, "it was removed: {}", said(&status));
    } else if asks.contains(&Ask::StopPod) {
        let state = status?.state();
        ensure!(state != v1::ContainerState::ContainerRunning, "its pod was stopped, and it runs");
    }
    client.remove_pod(pod).await?;
    let gone = client.pod_status(pod).await;
    ensure!(code(&gone) == Code::NotFound, "it was removed: {}", said(&gone));
    Ok(())
}
