//! A defect, wherever it is, is answered as one; what was begun is undone, and the next request succeeds.

use std::time::Duration;

use cradle_domain::{Class, Failure};

use crate::support::{container_spec, pod_spec};
use crate::{emptied, running, started};

/// What waits longer than this waits in vain.
const PATIENCE: Duration = Duration::from_secs(10);

async fn answer<T>(act: &str, asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{act}: no answer"))
}

#[tokio::test]
async fn a_panic_in_the_creation_of_a_pod_is_answered_and_undone() {
    for act in ["save_pod", "launch", "set_up", "attach", "put_file"] {
        let (world, engine) = started().await;
        world.panic(act);
        let asked = tokio::join!(answer(act, engine.run_pod(pod_spec())), answer(act, engine.run_pod(pod_spec())));
        for failure in [asked.0.unwrap_err(), asked.1.unwrap_err()] {
            assert_eq!(failure.class(), Class::Bug, "{act}: {failure}");
            assert!(failure.to_string().contains(act), "what happened is told: {failure}");
        }
        assert!(engine.pods().is_empty(), "{act}");
        emptied(&world, &engine).await;
        answer(act, engine.run_pod(pod_spec())).await.unwrap();
    }
}

#[tokio::test]
async fn a_panic_in_the_creation_of_a_container_is_answered_and_undone() {
    for act in ["save_container", "prepare"] {
        let (world, engine) = started().await;
        let pod = engine.run_pod(pod_spec()).await.unwrap();
        world.panic(act);
        let asked = answer(act, engine.create_container(pod.as_str(), container_spec())).await;
        assert_eq!(asked.unwrap_err().class(), Class::Bug, "{act}");
        let left = world.inventory();
        assert!(left.container_records.is_empty() && left.layers.is_empty(), "{act}: {left:?}");
        answer(act, engine.create_container(pod.as_str(), container_spec())).await.unwrap();
    }
}

#[tokio::test]
async fn a_panic_in_a_request_to_a_container_is_answered() {
    let (world, engine) = started().await;
    let (pod, container) = running(&engine).await;
    world.panic("signal");
    let asked = answer("signal", engine.stop_container(container.as_str(), PATIENCE)).await;
    assert_eq!(asked.unwrap_err().class(), Class::Bug);
    answer("signal", engine.stop_container(container.as_str(), PATIENCE)).await.unwrap();
    world.panic("remove_container");
    let asked = answer("remove_container", engine.remove_container(container.as_str())).await;
    assert_eq!(asked.unwrap_err().class(), Class::Bug);
    answer("remove_container", engine.remove_container(container.as_str())).await.unwrap();
    engine.remove_pod(pod.as_str()).await.unwrap();
    emptied(&world, &engine).await;
}

#[tokio::test]
async fn a_panic_in_a_removal_is_repaired() {
    for act in ["save_pod", "shutdown", "discard", "remove_container", "detach", "remove_pod"] {
        let (world, engine) = started().await;
        let (pod, _) = running(&engine).await;
        world.panic(act);
        answer(act, engine.remove_pod(pod.as_str())).await.unwrap();
        assert!(world.has_panicked(), "{act} was not reached");
        emptied(&world, &engine).await;
        assert!(engine.pods().is_empty(), "{act}");
    }
}
