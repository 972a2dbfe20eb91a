//! Records through a restart, a crash and a reboot.

use std::collections::BTreeMap;

use cradle_domain::lifecycle::pod::PodState;
use cradle_domain::{PodId, Timestamp};
use cradle_engine::ports::{ContainerRecord, PodRecord, Records};
use cradle_engine::spec::{Dns, GroupsPolicy, NamespaceMode, PodNamespaceModes, PodSpec, Profile};

use super::*;

fn pod(byte: u8) -> PodRecord {
    PodRecord {
        id: PodId::from_random([byte; 32]),
        spec: PodSpec {
            name: "web".into(),
            namespace: "default".into(),
            uid: "uid".into(),
            attempt: 1,
            hostname: "web".into(),
            log_directory: "/var/log/pods/web".into(),
            dns: Dns::default(),
            port_mappings: Vec::new(),
            labels: BTreeMap::from([("app".into(), "web".into())]),
            annotations: BTreeMap::new(),
            handler: String::new(),
            cgroup_parent: "/kubepods/pod1".into(),
            sysctls: BTreeMap::new(),
            namespaces: PodNamespaceModes {
                network: NamespaceMode::Pod,
                pid: NamespaceMode::Container,
                ipc: NamespaceMode::Pod,
                user: None,
            },
            privileged: false,
            readonly_rootfs: false,
            run_as_user: None,
            run_as_group: None,
            supplemental_groups: Vec::new(),
            groups_policy: GroupsPolicy::Merge,
            selinux: None,
            seccomp: Profile::RuntimeDefault,
            apparmor: Profile::Unset,
            resources: None,
            overhead: None,
        },
        state: PodState::Ready,
        created_at: Timestamp(7),
        addresses: vec!["10.0.0.2".parse().unwrap()],
        cgroup: "/kubepods/pod1".into(),
    }
}

fn block_on<T>(future: Act<'_, T>) -> T {
    let mut future = future;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result.unwrap(),
        std::task::Poll::Pending => panic!("the store never waits"),
    }
}

#[test]
fn a_saved_pod_is_loaded_and_a_removed_one_is_gone() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), "boot 1").unwrap();
    block_on(store.save_pod(&pod(1)));
    block_on(store.save_pod(&PodRecord { state: PodState::NotReady, ..pod(1) }));
    block_on(store.save_pod(&pod(2)));
    let loaded = block_on(store.load());
    assert_eq!(loaded.pods, [PodRecord { state: PodState::NotReady, ..pod(1) }, pod(2)]);
    assert!(loaded.damaged.is_empty() && loaded.orphans.is_empty() && !loaded.rebooted);
    fs::write(state.path().join("pods").join(pod(1).id.as_str()).join("hosts"), "x").unwrap();
    block_on(store.remove_pod(&pod(1).id));
    block_on(store.remove_pod(&pod(1).id));
    assert_eq!(block_on(store.load()).pods, [pod(2)]);
    assert_eq!(fs::read_dir(state.path().join("pods")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(state.path().join("removed")).unwrap().count(), 1);
    Store::open(state.path(), "boot 1").unwrap().delete_removed();
    assert_eq!(fs::read_dir(state.path().join("removed")).unwrap().count(), 0);
}

#[test]
fn a_damaged_record_is_set_aside_and_its_pod_is_an_orphan() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), "boot 1").unwrap();
    for byte in [1, 2] {
        block_on(store.save_pod(&pod(byte)));
    }
    let path = state.path().join("pods").join(pod(1).id.as_str()).join("pod");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&path, bytes).unwrap();
    let loaded = block_on(store.load());
    assert_eq!(loaded.pods, [pod(2)]);
    assert_eq!(loaded.orphans, [pod(1).id]);
    assert!(loaded.damaged[0].contains("its checksum is wrong; set aside as"), "{:?}", loaded.damaged);
    assert_eq!(fs::read_dir(state.path().join("damaged")).unwrap().count(), 1);
}

#[test]
fn records_of_an_earlier_boot_are_told_as_such() {
    let state = tempfile::tempdir().unwrap();
    block_on(Store::open(state.path(), "boot 1").unwrap().save_pod(&pod(1)));
    let loaded = block_on(Store::open(state.path(), "boot 2").unwrap().load());
    assert!(loaded.rebooted);
    assert_eq!(loaded.pods, [pod(1)]);
    assert!(!block_on(Store::open(state.path(), "boot 2").unwrap().load()).rebooted);
}

/// One record of every kind as version 1 wrote it, with every field filled in.
const POD_V1: &str = include_str!("../../tests/v1/pod");
const CONTAINER_V1: &str = include_str!("../../tests/v1/container");

#[test]
fn opening_again_writes_nothing() {
    use std::os::unix::fs::MetadataExt;
    let state = tempfile::tempdir().unwrap();
    let boot = || fs::metadata(state.path().join("boot")).unwrap().ino();
    Store::open(state.path(), "boot 1").unwrap();
    let first = boot();
    Store::open(state.path(), "boot 1").unwrap();
    assert_eq!(boot(), first);
    Store::open(state.path(), "boot 2").unwrap();
    assert_ne!(boot(), first);
}

#[test]
fn records_of_version_1_are_read_for_ever() {
    let pod: PodRecord = form::decode(POD, POD_V1.as_bytes()).unwrap();
    assert_eq!((pod.spec.name.as_str(), pod.state, pod.addresses.len()), ("web", PodState::Ready, 1));
    let container: ContainerRecord = form::decode(CONTAINER, CONTAINER_V1.as_bytes()).unwrap();
    assert_eq!(container.pod, pod.id);
    assert_eq!(container.exit.map(|exit| (exit.code, exit.oom_killed)), Some((137, true)));
    assert_eq!(container.spec.env, [("A".to_owned(), "b".to_owned())]);
}
