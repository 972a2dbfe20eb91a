//! Shims that die, are silent or cannot be reached, at any time of a pod's life: the pod is told as what it is, no request
//! waits in vain, and nothing of the shim is left.

use crate::support::pod_spec;
use crate::{emptied, restarted, running, started};
use cradle_domain::lifecycle::container::ContainerState;
use cradle_domain::lifecycle::pod::PodState;
use cradle_domain::{Class, ContainerId};
use cradle_engine::Engine;
use cradle_testkit::world::World;

fn container_state(engine: &Engine, container: &ContainerId) -> (ContainerState, Option<i32>) {
    let view = engine.find_container(container.as_str()).unwrap();
    (view.state, view.exit.map(|exit| exit.code))
}

#[tokio::test]
async fn a_silent_shim_is_killed_by_a_stop_with_all_it_has() {
    let (world, engine) = started().await;
    let (pod, container) = running(&engine).await;
    world.silence_shim(&pod);
    engine.stop_pod(pod.as_str()).await.unwrap();
    assert!(world.inventory().shims.is_empty());
    assert_eq!(container_state(&engine, &container), (ContainerState::Exited, Some(137)));
    engine.remove_pod(pod.as_str()).await.unwrap();
    emptied(&world, &engine).await;
}

#[tokio::test]
async fn a_silent_shim_is_killed_by_a_removal() {
    let (world, engine) = started().await;
    let (pod, _) = running(&engine).await;
    world.silence_shim(&pod);
    engine.remove_pod(pod.as_str()).await.unwrap();
    emptied(&world, &engine).await;
    assert!(engine.status().repairs.is_empty());
}

#[tokio::test]
async fn a_daemon_that_finds_a_silent_shim_tells_the_pod_as_lost() {
    let (world, engine) = started().await;
    let (pod, container) = running(&engine).await;
    world.silence_shim(&pod);
    drop(engine);
    let engine = restarted(&world).await;
    assert_eq!(engine.find_pod(pod.as_str()).unwrap().state, PodState::NotReady);
    assert_eq!(engine.find_container(container.as_str()).unwrap().reason, "ShimLost");
    assert!(world.inventory().shims.is_empty());
    engine.remove_pod(pod.as_str()).await.unwrap();
    emptied(&world, &engine).await;
}

#[tokio::test]
async fn a_shim_that_could_not_be_reached_at_the_start_is_ended_with_its_pod() {
    let (world, engine) = started().await;
    let (pod, _) = running(&engine).await;
    drop(engine);
    world.fail("connect", 2);
    let engine = restarted(&world).await;
    assert_eq!(engine.find_pod(pod.as_str()).unwrap().state, PodState::NotReady);
    assert_eq!(engine.stop_pod(pod.as_str()).await.unwrap_err().class(), Class::Unavailable, "it may run");
    assert_eq!(world.inventory().shims.len(), 1);
    engine.remove_pod(pod.as_str()).await.unwrap();
    emptied(&world, &engine).await;
}

#[tokio::test]
async fn a_removal_that_cannot_reach_the_shim_is_tried_again() {
    let (world, engine) = started().await;
    let (pod, _) = running(&engine).await;
    drop(engine);
    world.fail("connect", 3);
    let engine = restarted(&world).await;
    engine.remove_pod(pod.as_str()).await.unwrap();
    assert!(engine.pods().is_empty());
    emptied(&world, &engine).await;
}

#[tokio::test]
async fn a_shim_that_dies_while_the_pod_is_built_leaves_no_pod_whatever_is_being_done() {
    for act in ["set_up", "attach", "put_file"] {
        let (world, engine) = started().await;
        world.kill_shims_before(act);
        let failure = engine.run_pod(pod_spec()).await.unwrap_err();
        assert_eq!(failure.class(), Class::Unavailable, "{act}: {failure}");
        assert!(engine.pods().is_empty(), "{act}");
        emptied(&world, &engine).await;
        engine.run_pod(pod_spec()).await.unwrap();
    }
}

#[tokio::test]
async fn a_pod_whose_last_record_cannot_be_written_is_never_seen() {
    let (world, engine) = started().await;
    world.fail_after("save_pod", 1);
    let failure = engine.run_pod(pod_spec()).await.unwrap_err();
    assert!(failure.to_string().contains("save_pod fails"), "{failure}");
    assert!(engine.pods().is_empty());
    emptied(&world, &engine).await;
}

#[test]
fn the_end_of_a_daemon_is_no_end_of_its_pods() {
    for _ in 0..20 {
        let world = World::new();
        let life = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let first = life();
        let (pod, container) = first.block_on(async { running(&*restarted(&world).await).await });
        // In whatever order it drops its tasks, none of them takes that for the end of a shim.
        drop(first);
        life().block_on(async {
            let engine = restarted(&world).await;
            assert_eq!(engine.find_pod(pod.as_str()).unwrap().state, PodState::Ready);
            assert_eq!(container_state(&engine, &container), (ContainerState::Running, None));
        });
    }
}
