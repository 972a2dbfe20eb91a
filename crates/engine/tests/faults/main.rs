//! Faults while the daemon lives: of shims, and of its own code. Every request is answered, and nothing is left.

mod lost_shims;
mod panics;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cradle_domain::{ContainerId, PodId};
use cradle_engine::Engine;
use cradle_executor::cgroup::Layout;
use cradle_testkit::world::{Life, World};

use support::{container_spec, pod_spec, settings};

const TREES: [&str; 5] = ["devices", "memory", "cpu", "cpuset", "pids"];

/// A world and a daemon in it.
async fn started() -> (Arc<World>, Arc<Engine>) {
    let world = World::new();
    let engine = restarted(&world).await;
    (world, engine)
}

/// A daemon's next life in the same world. Its control groups are folders: what a dead shim leaves is removed from them.
async fn restarted(world: &Arc<World>) -> Arc<Engine> {
    let mut settings = settings();
    let trees = Path::new(env!("CARGO_TARGET_TMPDIR")).join("control-groups");
    // A v1 machine has this one for processes.
    for tree in TREES.iter().chain(&["systemd"]) {
        std::fs::create_dir_all(trees.join(tree)).unwrap();
    }
    settings.facts.layout = Layout::v1(&trees, &TREES);
    Engine::start(Life::new(world, u64::MAX).ports(), settings).await.unwrap()
}

/// A pod with a running container.
async fn running(engine: &Engine) -> (PodId, ContainerId) {
    let pod = engine.run_pod(pod_spec()).await.unwrap();
    let container = engine.create_container(pod.as_str(), container_spec()).await.unwrap();
    engine.start_container(container.as_str()).await.unwrap();
    (pod, container)
}

/// Waits until nothing is there any more.
async fn emptied(world: &World, engine: &Engine) {
    let empty = async {
        while !world.inventory().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let emptied = tokio::time::timeout(Duration::from_secs(10), empty).await;
    assert!(emptied.is_ok(), "left: {:?}, {:?}", world.inventory(), engine.status().repairs);
}
