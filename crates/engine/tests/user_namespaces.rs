//! Pods with a user namespace of their own, as the engine plans and refuses them.

mod support;

use cradle_domain::Class;
use cradle_engine::ports::UserNamespaceSupport;
use cradle_engine::spec::{IdMapping, NamespaceMode, PodSpec, UserNamespace};
use cradle_engine::{Engine, Settings};
use cradle_testkit::world::{Life, World};
use support::{container_spec, pod_spec, settings};

fn pod() -> PodSpec {
    let range = |host_id| vec![IdMapping { host_id, container_id: 0, length: 65536 }];
    let mut spec = pod_spec();
    spec.namespaces.user = Some(UserNamespace { uids: range(100_000), gids: range(200_000) });
    spec
}

async fn engine(settings: Settings) -> std::sync::Arc<Engine> {
    let life = Life::new(&World::new(), u64::MAX);
    Engine::start(life.ports(), settings).await.unwrap()
}

#[tokio::test]
async fn a_container_enters_the_pods_user_namespace_and_sees_the_pods_files_mapped() {
    let engine = engine(settings()).await;
    let pod = engine.run_pod(pod()).await.unwrap();
    let container = engine.create_container(pod.as_str(), container_spec()).await.unwrap();
    let plan = engine.explain_container(container.as_str()).await.unwrap();
    let mapping = "users 0→100000+65536, groups 0→200000+65536";
    for line in [
        format!("map the owners in /layers/base: {mapping}\n"),
        format!("give the standard streams to user 100000, enter the pod's user namespace: {mapping}\n"),
    ] {
        assert!(plan.contains(&line), "{line} in {plan}");
    }
    for file in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        let start = format!("mount {file}: bind ");
        let line = plan.lines().find(|line| line.starts_with(&start)).unwrap();
        assert!(line.contains(mapping), "{line}");
    }
}

#[tokio::test]
async fn a_user_outside_of_the_mapping_is_refused_before_anything_starts() {
    let engine = engine(settings()).await;
    let pod = engine.run_pod(pod()).await.unwrap();
    let mut spec = container_spec();
    spec.security.run_as_user = Some(70_000);
    let failure = engine.create_container(pod.as_str(), spec).await.unwrap_err();
    assert_eq!(failure.class(), Class::Invalid);
    let text = failure.to_string();
    assert!(text.contains("process.user \"70000\" is not among the ids of the pod's user namespace"), "{text}");
}

#[tokio::test]
async fn processes_and_ipc_of_the_host_are_refused_and_its_network_is_not() {
    let engine = engine(settings()).await;
    for (change, text) in [
        ((|spec| spec.namespaces.pid = NamespaceMode::Node) as fn(&mut PodSpec), "the host's PID namespace"),
        (|spec| spec.namespaces.ipc = NamespaceMode::Node, "the host's IPC namespace"),
    ] {
        let mut spec = pod();
        change(&mut spec);
        let failure = engine.run_pod(spec).await.unwrap_err();
        assert_eq!(failure.class(), Class::Invalid);
        assert!(failure.to_string().contains(text), "{failure}");
    }
    assert!(engine.pods().is_empty());
    let mut spec = pod();
    spec.namespaces.network = NamespaceMode::Node;
    engine.run_pod(spec).await.unwrap();
}

#[tokio::test]
async fn a_machine_that_cannot_says_why() {
    let user_namespaces = UserNamespaceSupport::Impossible { why: "no such thing".into() };
    let engine = engine(Settings { user_namespaces, ..settings() }).await;
    let failure = engine.run_pod(pod()).await.unwrap_err();
    assert_eq!(failure.class(), Class::Unimplemented);
    assert!(failure.to_string().starts_with("pods cannot have user namespaces on this machine: no such thing"));
    engine.run_pod(pod_spec()).await.unwrap();
}
