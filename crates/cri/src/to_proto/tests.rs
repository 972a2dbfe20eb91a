//! What clients see of pods, containers and images.

use std::path::PathBuf;
use std::sync::Arc;

use cradle_cri_api::v1;
use cradle_domain::lifecycle::container::ContainerState;
use cradle_domain::lifecycle::pod::PodState;
use cradle_domain::{ContainerId, Digest, PodId, Reference, Signal, Timestamp};
use cradle_engine::spec::{ContainerSpec, PodSpec};
use cradle_engine::view::{ContainerImage, ContainerUser, ContainerView, ImageConfig, ImageView, PodView};

use super::signal::signal;
use super::*;
use crate::from_proto::{self, ContainerFilter, PodFilter};

fn pod_spec() -> PodSpec {
    let config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata { name: "web".to_owned(), uid: "u".to_owned(), ..Default::default() }),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        annotations: [("note".to_owned(), "verbatim ü".to_owned())].into(),
        ..Default::default()
    };
    from_proto::pod(v1::RunPodSandboxRequest { config: Some(config), runtime_handler: "cradle".to_owned() }).unwrap()
}

fn pod_view() -> PodView {
    PodView {
        id: PodId::from_random([1; 32]),
        spec: Arc::new(pod_spec()),
        state: PodState::Ready,
        created_at: Timestamp(7),
        addresses: vec!["10.88.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
        shim_pid: Some(42),
        cgroup: "/kubepods/p/x".to_owned(),
        leftovers: vec![],
        containers: vec![],
    }
}

fn container_spec() -> ContainerSpec {
    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "nginx".to_owned(), attempt: 3 }),
        image: Some(v1::ImageSpec {
            image: Digest::from_sha256([9; 32]).to_string(),
            user_specified_image: "nginx:1".to_owned(),
            ..Default::default()
        }),
        envs: vec![v1::KeyValue { key: "A".to_owned(), value: "b".to_owned() }],
        mounts: vec![
            v1::Mount {
                container_path: "/a".to_owned(),
                host_path: "/h".to_owned(),
                readonly: true,
                ..Default::default()
            },
            v1::Mount {
                container_path: "/i".to_owned(),
                image: Some(v1::ImageSpec { image: "data:1".to_owned(), ..Default::default() }),
                image_sub_path: "etc".to_owned(),
                ..Default::default()
            },
        ],
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ..Default::default()
    };
    from_proto::container(Some(config)).unwrap()
}

fn container_view(state: ContainerState) -> ContainerView {
    let spec = container_spec();
    ContainerView {
        id: ContainerId::from_random([2; 32]),
        pod: PodId::from_random([1; 32]),
        image: ContainerImage {
            id: Digest::from_sha256([9; 32]),
            name: "docker.io/library/nginx:1".to_owned(),
            digest_reference: "docker.io/library/nginx@sha256:00".to_owned(),
        },
        state,
        created_at: Timestamp(10),
        started_at: Timestamp(20),
        finished_at: Timestamp(0),
        pid: Some(43),
        exit: None,
        reason: String::new(),
        message: String::new(),
        resources: spec.resources.clone(),
        spec: Arc::new(spec),
        stop_signal: Signal::parse("SIGRTMIN+3").unwrap(),
        log_path: "/var/log/pods/x/nginx/3.log".to_owned(),
        log_lost_bytes: 0,
        user: ContainerUser { uid: 101, gid: 102, additional_gids: vec![103], home: "/".into() },
        cgroup: "/kubepods/p/x/c".to_owned(),
        writable_layer: PathBuf::from("/var/lib/cradle/upper"),
    }
}

fn image_view(user: &str) -> ImageView {
    ImageView {
        id: Digest::from_sha256([9; 32]),
        tags: ["b:1", "a:1"].map(|tag| Reference::parse(tag).unwrap()).into(),
        digests: vec!["docker.io/library/a@sha256:00".to_owned()],
        size_bytes: 5,
        pinned: true,
        config: Arc::new(ImageConfig {
            user: user.to_owned(),
            volumes: vec!["/data".to_owned()],
            ..Default::default()
        }),
        layers: vec![Digest::from_sha256([8; 32])],
    }
}

#[test]
fn a_pods_first_address_is_its_ip_and_annotations_are_verbatim() {
    let status = pod_status(&pod_view());
    let network = status.network.unwrap();
    assert_eq!(network.ip, "10.88.0.5");
    assert_eq!(network.additional_ips, [v1::PodIp { ip: "fd00::5".to_owned() }]);
    assert_eq!(status.annotations["note"], "verbatim ü");
    assert_eq!((status.runtime_handler.as_str(), status.created_at), ("cradle", 7));
    assert_eq!(status.linux.unwrap().namespaces.unwrap().options.unwrap(), v1::NamespaceOption::default());
    let host = PodView { addresses: vec![], ..pod_view() };
    assert_eq!(pod_status(&host).network.unwrap(), v1::PodSandboxNetworkStatus::default());
}

#[test]
fn only_a_ready_pod_is_ready() {
    for (state, expected) in [
        (PodState::Ready, v1::PodSandboxState::SandboxReady),
        (PodState::NotReady, v1::PodSandboxState::SandboxNotready),
        (PodState::Creating, v1::PodSandboxState::SandboxNotready),
        (PodState::Removing, v1::PodSandboxState::SandboxNotready),
    ] {
        assert_eq!(pod_state(state), expected);
    }
}

#[test]
fn verbose_information_tells_the_processes_and_namespaces_of_a_pod() {
    let info: serde_json::Value = serde_json::from_str(&pod_info(&pod_view())["info"]).unwrap();
    assert_eq!(info["pid"], 42);
    assert_eq!(info["config"]["name"], "web");
    assert_eq!(info["runtimeSpec"]["linux"]["namespaces"][0]["path"], "/proc/42/ns/net");
}

#[test]
fn a_container_is_known_by_its_image_in_every_way() {
    let view = container_view(ContainerState::Running);
    let id = Digest::from_sha256([9; 32]).to_string();
    let listed = container(&view);
    assert_eq!((&listed.image_id, &listed.image_ref, &listed.image.unwrap().image), (&id, &id, &id));
    let status = container_status(&view, |_| "repo@sha256:11".to_owned());
    let image = status.image.unwrap();
    assert_eq!((image.image.as_str(), image.user_specified_image.as_str()), ("docker.io/library/nginx:1", "nginx:1"));
    assert_eq!((status.image_id, status.image_ref.as_str()), (id, "docker.io/library/nginx@sha256:00"));
    assert_eq!(v1::Signal::try_from(status.stop_signal), Ok(v1::Signal::Sigrtminplus3));
    let user = status.user.unwrap().linux.unwrap();
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (101, 102, vec![103]));
    let [host, mounted] = status.mounts.as_slice() else { panic!("{:?}", status.mounts) };
    assert_eq!((host.host_path.as_str(), host.readonly, &host.image), ("/h", true, &None));
    assert_eq!((mounted.host_path.as_str(), mounted.readonly, mounted.image_sub_path.as_str()), ("", true, "etc"));
    assert_eq!(mounted.image.as_ref().unwrap().image_ref, "repo@sha256:11");
}

#[test]
fn a_path_of_a_log_is_never_empty() {
    let view = ContainerView { log_path: String::new(), ..container_view(ContainerState::Running) };
    let path = container_status(&view, |_| String::new()).log_path;
    assert!(path.starts_with("/nonexistent/") && path.len() > 20, "{path}");
}

#[test]
fn an_exit_code_is_the_containers_or_unknown_once_it_has_ended() {
    use cradle_engine::view::Exit;
    let code =
        |state, exit| container_status(&ContainerView { exit, ..container_view(state) }, |_| String::new()).exit_code;
    let exit = Exit { code: 137, at: Timestamp(30), oom_killed: true, timed_out: false };
    assert_eq!(code(ContainerState::Exited, Some(exit)), 137);
    assert_eq!(code(ContainerState::Exited, None), 255);
    assert_eq!(code(ContainerState::Running, None), 0);
}

#[test]
fn verbose_information_shows_variables_as_text() {
    let info = container_info(&container_view(ContainerState::Running));
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    assert_eq!((&info["pid"], &info["config"]["env"][0]), (&43.into(), &"A=b".into()));
}

#[test]
fn an_images_user_is_a_number_or_a_name() {
    for (user, uid, name) in [
        ("", None, ""),
        ("1000", Some(1000), ""),
        ("1000:50", Some(1000), ""),
        ("www", None, "www"),
        ("www:data", None, "www"),
    ] {
        let image = image(&image_view(user));
        assert_eq!((image.uid.map(|uid| uid.value), image.username.as_str()), (uid, name), "{user:?}");
        assert_eq!(image.repo_tags, ["docker.io/library/a:1", "docker.io/library/b:1"]);
        assert!(image.pinned);
    }
}

#[test]
fn an_images_configuration_is_shown_in_its_standard_form() {
    let info: serde_json::Value = serde_json::from_str(&image_info(&image_view("u"))["info"]).unwrap();
    assert_eq!(info["imageSpec"]["config"]["User"], "u");
    assert_eq!(info["imageSpec"]["config"]["Volumes"], serde_json::json!({ "/data": {} }));
    assert_eq!(info["imageSpec"]["rootfs"]["diff_ids"][0], Digest::from_sha256([8; 32]).to_string());
}

#[test]
fn every_signal_of_the_cri_comes_back_as_the_same_signal() {
    for number in 1..=65 {
        let name = v1::Signal::try_from(number).unwrap();
        let known = from_proto::signal(name).unwrap();
        assert_eq!(from_proto::signal(signal(known)), Some(known), "{name:?}");
    }
    assert_eq!(signal(Signal::from_number(32).unwrap()), v1::Signal::RuntimeDefault);
}

#[test]
fn filters_match_when_all_of_their_parts_do() {
    let pod = pod_view();
    let filter = |id: &str, state, label: &str| {
        let filter = v1::PodSandboxFilter {
            id: id.to_owned(),
            state: Some(v1::PodSandboxStateValue { state }),
            label_selector: [("app".to_owned(), label.to_owned())].into(),
        };
        PodFilter::read(Some(filter)).unwrap().matches(&pod)
    };
    assert!(PodFilter::read(None).unwrap().matches(&pod));
    assert!(filter("0101", 0, "web"));
    assert!(!filter("02", 0, "web") && !filter("0101", 1, "web") && !filter("0101", 0, "db"));
    let unknown = v1::PodSandboxFilter { state: Some(v1::PodSandboxStateValue { state: 9 }), ..Default::default() };
    let error = PodFilter::read(Some(unknown)).unwrap_err();
    assert_eq!(error.to_string(), "filter.state is 9: the CRI has no such value");

    let container = container_view(ContainerState::Running);
    let filter = |pod: &str, state| {
        let state = Some(v1::ContainerStateValue { state });
        let filter = v1::ContainerFilter { pod_sandbox_id: pod.to_owned(), state, ..Default::default() };
        ContainerFilter::read(Some(filter)).unwrap().matches(&container)
    };
    assert!(filter("0101", v1::ContainerState::ContainerRunning.into()));
    assert!(!filter("03", v1::ContainerState::ContainerRunning.into()));
    assert!(!filter("0101", v1::ContainerState::ContainerExited.into()));
}

#[test]
fn figures_that_the_machine_does_not_count_are_absent() {
    use cradle_engine::ports::ImageUsage;
    use cradle_engine::usage::{ContainerUsage, CpuStats, MemoryStats, Pressure, Stats};
    let group = Stats {
        taken: Timestamp(50),
        cpu: Some(CpuStats { usage_ns: 7, ..Default::default() }),
        memory: Some(MemoryStats { working_set_bytes: 60, limit_bytes: Some(100), ..Default::default() }),
        io_pressure: Some(Pressure::default()),
        ..Default::default()
    };
    let usage = ContainerUsage {
        container: Arc::new(container_view(ContainerState::Running)),
        group: Some(group),
        writable: Some(ImageUsage { bytes: 3, inodes: 1 }),
    };
    let stats = container_stats(&usage);
    assert_eq!(stats.attributes.unwrap().metadata.unwrap().name, "nginx");
    let cpu = stats.cpu.unwrap();
    assert_eq!((cpu.timestamp, cpu.usage_core_nano_seconds.unwrap().value, cpu.psi), (50, 7, None));
    assert_eq!(stats.memory.unwrap().available_bytes.unwrap().value, 40);
    assert!(stats.swap.is_none() && stats.io.unwrap().psi.is_some());
    assert_eq!(stats.writable_layer.unwrap().used_bytes.unwrap().value, 3);
    let stopped = container_stats(&ContainerUsage { group: None, writable: None, ..usage });
    assert_eq!((stopped.cpu, stopped.memory, stopped.writable_layer), (None, None, None));
}

#[test]
fn a_pods_first_link_is_its_default_interface() {
    use cradle_engine::usage::{LinkUsage, PidStats, PodUsage, Stats};
    let link = |name: &str| LinkUsage {
        name: name.to_owned(),
        received_bytes: 1,
        received_errors: 2,
        sent_bytes: 3,
        sent_errors: 4,
    };
    let group = Stats { pids: Some(PidStats { current: 9, limit: None }), ..Default::default() };
    let usage =
        PodUsage { pod: Arc::new(pod_view()), group, links: vec![link("eth0"), link("net1")], containers: vec![] };
    let linux = pod_stats(&usage).linux.unwrap();
    let network = linux.network.unwrap();
    let default = network.default_interface.unwrap();
    assert_eq!(
        (default.name.as_str(), default.rx_errors.unwrap().value, default.tx_bytes.unwrap().value),
        ("eth0", 2, 3)
    );
    assert_eq!(network.interfaces.len(), 1);
    assert_eq!(linux.process.unwrap().process_count.unwrap().value, 9);
}
