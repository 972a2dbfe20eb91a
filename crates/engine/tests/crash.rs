//! Crash enumeration (invariants 5 and 6): the daemon dies at every call of every port, before and after its effect, in
//! each request in turn, counted and not sampled. Its successor must find every object whole or not at all, answer the
//! repeated request, and leave nothing when the pod is removed.

mod support;

use std::sync::Arc;
use std::time::Duration;

use cradle_domain::lifecycle::container::ContainerState;
use cradle_engine::Engine;
use cradle_testkit::world::{Life, World};
use support::{container_spec, pod_spec, settings};

/// Longer than any life of the test; ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The requests of a pod's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Request {
    RunPod,
    CreateContainer,
    StartContainer,
    StopContainer,
    RemoveContainer,
    StopPod,
    RemovePod,
}

const LIFE: [Request; 7] = [
    Request::RunPod,
    Request::CreateContainer,
    Request::StartContainer,
    Request::StopContainer,
    Request::RemoveContainer,
    Request::StopPod,
    Request::RemovePod,
];

/// Sends a request as the kubelet does: by the ids that lists show, or by name.
async fn send(engine: &Engine, request: Request) {
    let pod = engine.pods().first().map(|pod| pod.id.to_string()).unwrap_or_default();
    let container = engine.containers().first().map(|container| container.id.to_string()).unwrap_or_default();
    let done = match request {
        Request::RunPod => engine.run_pod(pod_spec()).await.map(|_| ()),
        Request::CreateContainer => engine.create_container(&pod, container_spec()).await.map(|_| ()),
        Request::StartContainer => match engine.find_container(&container).map(|view| view.state) {
            Ok(ContainerState::Running) => Ok(()),
            _ => engine.start_container(&container).await,
        },
        Request::StopContainer => engine.stop_container(&container, Duration::from_secs(1)).await,
        Request::RemoveContainer => engine.remove_container(&container).await,
        Request::StopPod => engine.stop_pod(&pod).await,
        Request::RemovePod => engine.remove_pod(&pod).await,
    };
    if let Err(failure) = done {
        panic!("{request:?}: {failure}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Lives a life in which nothing fails, and does what `then` says.
fn live<T>(world: &Arc<World>, then: impl AsyncFnOnce(Arc<Engine>) -> T) -> T {
    let life = Life::new(world, u64::MAX);
    runtime().block_on(async {
        let lived = async { then(Engine::start(life.ports(), settings()).await.unwrap()).await };
        tokio::time::timeout(PATIENCE, lived).await.expect("a request hangs")
    })
}

/// Lives a life that ends at the call `end`; tells whether the request was answered before.
fn die_at(world: &Arc<World>, end: u64, request: Request) -> bool {
    let life = Life::new(world, end);
    runtime().block_on(async {
        let lived = async {
            let engine = Engine::start(life.ports(), settings()).await.unwrap();
            send(&engine, request).await;
        };
        tokio::select! {
            () = lived => true,
            () = life.over() => false,
            () = tokio::time::sleep(PATIENCE) => panic!("{request:?} hangs, dying at {end}"),
        }
    })
}

/// What a daemon that comes back must find.
fn check(world: &Arc<World>, engine: &Engine, place: &str) {
    let inventory = world.inventory();
    for pod in engine.pods() {
        assert!(inventory.pod_records.contains(&pod.id), "{place}: a pod is listed without a record");
        assert_eq!(pod.shim_pid.is_some(), inventory.shims.contains(&pod.id), "{place}: {inventory:?}");
    }
    for container in engine.containers() {
        assert!(inventory.container_records.contains(&container.id), "{place}: a container without a record");
        let running = container.state == ContainerState::Running;
        assert_eq!(running, inventory.running.contains(&container.id), "{place}: {:?}", container.state);
    }
}

#[test]
fn at_every_point_of_every_request_the_daemon_may_die() {
    let mut points = 0;
    for (at, request) in LIFE.into_iter().enumerate() {
        for end in 1.. {
            let world = World::new();
            live(&world, async |engine| {
                for earlier in &LIFE[..at] {
                    send(&engine, *earlier).await;
                }
            });
            let answered = die_at(&world, end, request);
            let place = format!("{request:?}, dying at {end}");
            live(&world, async |engine| {
                check(&world, &engine, &place);
                for again in &LIFE[at..] {
                    send(&engine, *again).await;
                    check(&world, &engine, &place);
                }
                let empty = async {
                    while !world.inventory().is_empty() {
                        tokio::task::yield_now().await;
                    }
                };
                let left = tokio::time::timeout(Duration::from_secs(5), empty).await;
                assert!(left.is_ok(), "{place}: left {:?}", world.inventory());
                assert!(engine.status().repairs.is_empty(), "{place}: {:?}", engine.status().repairs);
            });
            if answered {
                break;
            }
            points += 1;
        }
    }
    println!("{points} points of {} requests", LIFE.len());
    assert!(points > 60, "only {points} points were reached");
}
