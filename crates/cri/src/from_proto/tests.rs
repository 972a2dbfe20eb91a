//! What requests are refused, in which words, and what the accepted ones become.

use cradle_cri_api::v1;
use cradle_domain::Signal;
use cradle_engine::spec::{
    GroupsPolicy, IdMapping, MountSource, NamespaceMode, PodSpec, Profile, Propagation, Protocol, UserNamespace,
};

use super::*;

const CONTAINER_ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The request for a pod that `change` makes of a plain one.
fn pod_with(change: impl FnOnce(&mut v1::PodSandboxConfig)) -> Result<PodSpec, String> {
    let mut config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: "web".to_owned(),
            uid: "u1".to_owned(),
            namespace: "default".to_owned(),
            attempt: 2,
        }),
        ..Default::default()
    };
    change(&mut config);
    let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    pod(request).map_err(|error| error.to_string())
}

/// As [`pod_with`], for the security context.
fn pod_context(change: impl FnOnce(&mut v1::LinuxSandboxSecurityContext)) -> Result<PodSpec, String> {
    pod_with(|config| {
        let linux = config.linux.get_or_insert_default();
        change(linux.security_context.get_or_insert_default());
    })
}

fn container_with(change: impl FnOnce(&mut v1::ContainerConfig)) -> Result<cradle_engine::spec::ContainerSpec, String> {
    let mut config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "nginx".to_owned(), attempt: 1 }),
        image: Some(v1::ImageSpec { image: "nginx".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    change(&mut config);
    container(Some(config)).map_err(|error| error.to_string())
}

fn container_context(
    change: impl FnOnce(&mut v1::LinuxContainerSecurityContext),
) -> Result<cradle_engine::spec::ContainerSpec, String> {
    container_with(|config| {
        let linux = config.linux.get_or_insert_default();
        change(linux.security_context.get_or_insert_default());
    })
}

fn mount_with(change: impl FnOnce(&mut v1::Mount)) -> Result<cradle_engine::spec::Mount, String> {
    let mut mount =
        v1::Mount { container_path: "/data".to_owned(), host_path: "/srv".to_owned(), ..Default::default() };
    change(&mut mount);
    container_with(|config| config.mounts = vec![mount]).map(|mut spec| spec.mounts.remove(0))
}

fn image_mount(change: impl FnOnce(&mut v1::Mount)) -> Result<cradle_engine::spec::Mount, String> {
    mount_with(|mount| {
        mount.host_path = String::new();
        mount.image = Some(v1::ImageSpec { image: "data:1".to_owned(), ..Default::default() });
        change(mount);
    })
}

fn limits_with(
    change: impl FnOnce(&mut v1::LinuxContainerResources),
) -> Result<cradle_engine::spec::Resources, String> {
    let mut limits = v1::LinuxContainerResources::default();
    change(&mut limits);
    resources(Field::root("linux"), limits).map_err(|error| error.to_string())
}

fn id_value(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
}

fn localhost(name: &str) -> Option<v1::SecurityProfile> {
    let profile_type = v1::security_profile::ProfileType::Localhost.into();
    Some(v1::SecurityProfile { profile_type, localhost_ref: name.to_owned() })
}

fn mappings(container_id: u32, length: u32, count: usize) -> Vec<v1::IdMapping> {
    vec![v1::IdMapping { host_id: 1000, container_id, length }; count]
}

fn user_namespace(mode: v1::NamespaceMode, mappings: Vec<v1::IdMapping>) -> Option<v1::NamespaceOption> {
    let user = v1::UserNamespace { mode: mode.into(), uids: mappings.clone(), gids: mappings };
    Some(v1::NamespaceOption { userns_options: Some(user), ..Default::default() })
}

#[test]
fn a_plain_pod_has_the_defaults_of_the_cri() {
    let spec = pod_with(|_| {}).unwrap();
    assert_eq!(
        (spec.name.as_str(), spec.namespace.as_str(), spec.uid.as_str(), spec.attempt),
        ("web", "default", "u1", 2)
    );
    let namespaces = spec.namespaces;
    let pod = NamespaceMode::Pod;
    assert_eq!(
        (namespaces.network, namespaces.pid, namespaces.ipc, namespaces.user),
        (pod.clone(), pod.clone(), pod, None)
    );
    assert_eq!((spec.seccomp, spec.apparmor, spec.selinux), (Profile::Unset, Profile::Unset, None));
    assert_eq!((spec.groups_policy, spec.resources, spec.overhead), (GroupsPolicy::Merge, None, None));
}

#[test]
fn a_pod_without_what_is_required_is_refused() {
    let missing = |request: v1::RunPodSandboxRequest| pod(request).unwrap_err().to_string();
    assert_eq!(missing(Default::default()), "config is missing: it is required");
    assert_eq!(pod_with(|config| config.metadata = None), Err("config.metadata is missing: it is required".to_owned()));
    let unknown = v1::RunPodSandboxRequest { runtime_handler: "kata".to_owned(), ..Default::default() };
    assert_eq!(
        missing(unknown),
        "runtime_handler is \"kata\": there is no such runtime handler; there are [\"\", \"cradle\"]"
    );
    let named = v1::PodSandboxMetadata { name: String::new(), ..Default::default() };
    assert_eq!(
        pod_with(|config| config.metadata = Some(named)),
        Err("config.metadata.name is \"\": it must not be empty".to_owned())
    );
}

#[test]
fn a_pods_fields_are_refused_by_name_and_value() {
    type Change = fn(&mut v1::PodSandboxConfig);
    let cases: [(Change, &str); 12] = [
        (
            |c| c.hostname = "a b".to_owned(),
            "config.hostname is \"a b\": a host name has letters, digits, '-', '_' and '.'",
        ),
        (|c| c.log_directory = "logs".to_owned(), "config.log_directory is \"logs\": it must be an absolute path"),
        (
            |c| c.dns_config.get_or_insert_default().servers = vec!["1.1.1.1\nx".to_owned()],
            "config.dns_config.servers[0] is \"1.1.1.1\\nx\": it has a space or a control character",
        ),
        (
            |c| c.port_mappings = vec![v1::PortMapping { container_port: 70000, ..Default::default() }],
            "config.port_mappings[0].container_port is 70000: a port is between 0 and 65535",
        ),
        (
            |c| c.port_mappings = vec![v1::PortMapping { host_port: -1, ..Default::default() }],
            "config.port_mappings[0].host_port is -1: a port is between 0 and 65535",
        ),
        (
            |c| c.port_mappings = vec![v1::PortMapping { host_port: 80, ..Default::default() }],
            "config.port_mappings[0].container_port is 0: a host port must lead to a port of the pod",
        ),
        (
            |c| c.port_mappings = vec![v1::PortMapping { host_ip: "localhost".to_owned(), ..Default::default() }],
            "config.port_mappings[0].host_ip is \"localhost\": it is no IP address",
        ),
        (
            |c| c.port_mappings = vec![v1::PortMapping { protocol: 7, ..Default::default() }],
            "config.port_mappings[0].protocol is 7: the CRI has no such value",
        ),
        (
            |c| c.linux.get_or_insert_default().cgroup_parent = "/a/../../b".to_owned(),
            "config.linux.cgroup_parent is \"/a/../../b\": it must not have \"..\"",
        ),
        (
            |c| {
                drop(
                    c.linux
                        .get_or_insert_default()
                        .sysctls
                        .insert("net/../kernel.core_pattern".to_owned(), "1".to_owned()),
                )
            },
            "config.linux.sysctls.net/../kernel.core_pattern is \"1\": its key is no name of a sysctl",
        ),
        (
            |c| c.linux.get_or_insert_default().resources.get_or_insert_default().cpu_period = -1,
            "config.linux.resources.cpu_period is -1: it must be at least 0",
        ),
        (|c| c.windows = Some(Default::default()), "config.windows is \"set\": this is a Linux node"),
    ];
    for (change, expected) in cases {
        assert_eq!(pod_with(change).unwrap_err(), expected);
    }
}

#[test]
fn ports_keep_protocol_numbers_and_address() {
    let mapping = v1::PortMapping {
        protocol: v1::Protocol::Udp.into(),
        container_port: 53,
        host_port: 5353,
        host_ip: "127.0.0.1".to_owned(),
    };
    let unpublished = v1::PortMapping { container_port: 80, ..Default::default() };
    let spec = pod_with(|config| config.port_mappings = vec![mapping, unpublished]).unwrap();
    let [udp, tcp] = spec.port_mappings.as_slice() else { panic!("{spec:?}") };
    assert_eq!((udp.protocol, udp.container_port, udp.host_port), (Protocol::Udp, 53, 5353));
    assert_eq!(udp.host_ip, Some([127, 0, 0, 1].into()));
    assert_eq!((tcp.protocol, tcp.container_port, tcp.host_port, tcp.host_ip), (Protocol::Tcp, 80, 0, None));
}

#[test]
fn a_pods_namespaces_are_its_own_or_the_nodes() {
    let context = "config.linux.security_context.namespace_options";
    let option = |change: fn(&mut v1::NamespaceOption)| {
        let mut options = v1::NamespaceOption::default();
        change(&mut options);
        pod_context(|context| context.namespace_options = Some(options)).map(|spec| spec.namespaces)
    };
    assert_eq!(option(|o| o.network = v1::NamespaceMode::Node.into()).unwrap().network, NamespaceMode::Node);
    assert_eq!(option(|o| o.pid = v1::NamespaceMode::Container.into()).unwrap().pid, NamespaceMode::Container);
    assert_eq!(
        option(|o| o.network = v1::NamespaceMode::Container.into()),
        Err(format!("{context}.network is \"CONTAINER\": it must be POD or NODE"))
    );
    assert_eq!(
        option(|o| o.ipc = v1::NamespaceMode::Target.into()),
        Err(format!("{context}.ipc is \"TARGET\": it must be POD or NODE"))
    );
    assert_eq!(
        option(|o| o.pid = v1::NamespaceMode::Target.into()),
        Err(format!("{context}.pid is \"TARGET\": only a container can have the namespace of another one"))
    );
}

#[test]
fn a_user_namespace_has_one_mapping_that_contains_root() {
    let of = |mode, mappings| {
        pod_context(|context| context.namespace_options = user_namespace(mode, mappings))
            .map(|spec| spec.namespaces.user)
    };
    let mapping = IdMapping { host_id: 1000, container_id: 0, length: 65536 };
    let expected = UserNamespace { uids: vec![mapping], gids: vec![mapping] };
    assert_eq!(of(v1::NamespaceMode::Pod, mappings(0, 65536, 1)), Ok(Some(expected)));
    assert_eq!(of(v1::NamespaceMode::Node, vec![]), Ok(None));
    let field = "config.linux.security_context.namespace_options.userns_options";
    for (mode, mappings, expected) in [
        (v1::NamespaceMode::Pod, mappings(0, 10, 2), "uids is 2: a pod has exactly one mapping"),
        (v1::NamespaceMode::Pod, vec![], "uids is 0: a pod has exactly one mapping"),
        (v1::NamespaceMode::Pod, mappings(1, 10, 1), "uids[0].container_id is 1: the id 0 must be mapped"),
        (v1::NamespaceMode::Pod, mappings(0, 0, 1), "uids[0].length is 0: it must be at least 1"),
        (
            v1::NamespaceMode::Pod,
            mappings(0, u32::MAX, 1),
            "uids[0].length is 4294967295: the range goes beyond the largest id",
        ),
        (v1::NamespaceMode::Container, vec![], "mode is \"CONTAINER\": it must be POD or NODE"),
        (v1::NamespaceMode::Target, vec![], "mode is \"TARGET\": it must be POD or NODE"),
        (
            v1::NamespaceMode::Node,
            mappings(0, 1, 1),
            "mode is \"NODE\": there is nothing to map in the node's user namespace",
        ),
    ] {
        assert_eq!(of(mode, mappings), Err(format!("{field}.{expected}")));
    }
}

#[test]
fn a_group_needs_a_user() {
    assert_eq!(
        pod_context(|context| context.run_as_group = id_value(5)).unwrap_err(),
        "config.linux.security_context.run_as_group is 5: a group needs a run_as_user"
    );
    assert_eq!(
        container_context(|context| context.run_as_group = id_value(5)).unwrap_err(),
        "config.linux.security_context.run_as_group is 5: a group needs a run_as_user or run_as_username"
    );
    let named = container_context(|context| {
        context.run_as_username = "www".to_owned();
        context.run_as_group = id_value(5);
    });
    assert_eq!(named.unwrap().security.run_as_group, Some(5));
}

#[test]
fn a_user_is_named_once_and_ids_are_ids() {
    let both = container_context(|context| {
        context.run_as_username = "www".to_owned();
        context.run_as_user = id_value(0);
    });
    assert_eq!(
        both.unwrap_err(),
        "config.linux.security_context.run_as_username is \"www\": a user is named by run_as_user or by name, not both"
    );
    for id in [-1, i64::from(u32::MAX), i64::MAX] {
        let error = container_context(|context| context.supplemental_groups = vec![0, id]).unwrap_err();
        assert_eq!(
            error,
            format!("config.linux.security_context.supplemental_groups[1] is {id}: an id is between 0 and 4294967294")
        );
    }
}

#[test]
fn profiles_come_from_their_field_or_from_the_older_text() {
    let seccomp = |text: &str| {
        container_context(|context| {
            #[expect(deprecated)]
            context.seccomp_profile_path.push_str(text);
        })
        .map(|spec| spec.security.seccomp)
    };
    assert_eq!(seccomp(""), Ok(Profile::Unset));
    assert_eq!(seccomp("unconfined"), Ok(Profile::Unconfined));
    assert_eq!(seccomp("runtime/default"), Ok(Profile::RuntimeDefault));
    assert_eq!(seccomp("localhost//etc/p.json"), Ok(Profile::Localhost("/etc/p.json".to_owned())));
    assert!(seccomp("localhost/p.json").unwrap_err().ends_with("it must be an absolute path"));
    assert!(
        seccomp("default").unwrap_err().contains("seccomp_profile_path is \"default\": it must be \"runtime/default\"")
    );
    let apparmor =
        |name| container_context(|context| context.apparmor = localhost(name)).map(|spec| spec.security.apparmor);
    assert_eq!(apparmor("localhost/web"), Ok(Profile::Localhost("web".to_owned())));
    assert_eq!(apparmor("web"), Ok(Profile::Localhost("web".to_owned())));
    assert!(apparmor("").unwrap_err().contains("apparmor.localhost_ref is \"\""));
    let stray = v1::SecurityProfile { profile_type: 1, localhost_ref: "x".to_owned() };
    assert!(
        container_context(|context| context.seccomp = Some(stray))
            .unwrap_err()
            .contains("needs the profile type Localhost")
    );
}

#[test]
fn a_field_counts_more_than_the_older_text() {
    let spec = container_context(|context| {
        context.seccomp = Some(v1::SecurityProfile::default());
        #[expect(deprecated)]
        context.seccomp_profile_path.push_str("unconfined");
    });
    assert_eq!(spec.unwrap().security.seccomp, Profile::RuntimeDefault);
}

#[test]
fn a_containers_fields_are_refused_by_name_and_value() {
    type Change = fn(&mut v1::ContainerConfig);
    let key_value = |key: &str, value: &str| v1::KeyValue { key: key.to_owned(), value: value.to_owned() };
    let cases: [(Change, &str); 12] = [
        (|c| c.metadata = None, "config.metadata is missing: it is required"),
        (|c| c.image = None, "config.image is missing: it is required"),
        (|c| c.image = Some(Default::default()), "config.image.image is \"\": it must not be empty"),
        (|c| c.command = vec!["a\0b".to_owned()], "config.command[0] is \"a\\0b\": it has a NUL character"),
        (|c| c.working_dir = "srv".to_owned(), "config.working_dir is \"srv\": it must be an absolute path"),
        (|c| c.log_path = "../x.log".to_owned(), "config.log_path is \"../x.log\": it must not have \"..\""),
        (|c| c.log_path = "/x.log".to_owned(), "config.log_path is \"/x.log\": it must be a relative path"),
        (|c| c.stop_signal = 99, "config.stop_signal is 99: the CRI has no such value"),
        (
            |c| c.cdi_devices = vec![v1::CdiDevice { name: "gpu0".to_owned() }],
            "config.CDI_devices[0].name is \"gpu0\": it must be a qualified name, \"vendor/class=device\"",
        ),
        (
            |c| {
                c.devices = vec![v1::Device {
                    host_path: "/dev/x".to_owned(),
                    permissions: "rx".to_owned(),
                    ..Default::default()
                }]
            },
            "config.devices[0].permissions is \"rx\": it must be one or more of the letters r, w and m",
        ),
        (
            |c| {
                c.devices = vec![v1::Device {
                    host_path: "/dev/x".to_owned(),
                    permissions: "rr".to_owned(),
                    ..Default::default()
                }]
            },
            "config.devices[0].permissions is \"rr\": it must be one or more of the letters r, w and m",
        ),
        (|c| c.windows = Some(Default::default()), "config.windows is \"set\": this is a Linux node"),
    ];
    for (change, expected) in cases {
        assert_eq!(container_with(change).unwrap_err(), expected);
    }
    assert_eq!(
        container_with(|config| config.envs = vec![key_value("A", "1"), key_value("B=C", "1")]).unwrap_err(),
        "config.envs[1].key is \"B=C\": the name of a variable has no '='"
    );
    assert_eq!(container(None).unwrap_err().to_string(), "config is missing: it is required");
}

#[test]
fn a_long_value_is_quoted_in_part() {
    let error = container_with(|config| config.working_dir = "x".repeat(5000)).unwrap_err();
    assert!(error.len() < 300 && error.contains("xxx…: it must be"), "{error}");
}

#[test]
fn an_ephemeral_container_joins_the_processes_of_the_one_it_names() {
    let with_target = |id: &str| {
        let mode = v1::NamespaceMode::Target.into();
        let options = v1::NamespaceOption { pid: mode, target_id: id.to_owned(), ..Default::default() };
        container_context(|context| context.namespace_options = Some(options)).map(|spec| spec.security.pid)
    };
    let Ok(NamespaceMode::Target(id)) = with_target(CONTAINER_ID) else { panic!("{:?}", with_target(CONTAINER_ID)) };
    assert_eq!(id.as_str(), CONTAINER_ID);
    assert!(with_target("").unwrap_err().contains("namespace_options.target_id is \"\""));
}

#[test]
fn mounts_are_refused_where_they_contradict_themselves() {
    let field = "config.mounts[0]";
    let bidirectional = v1::MountPropagation::PropagationBidirectional.into();
    for (result, expected) in [
        (mount_with(|m| m.host_path = "srv".to_owned()), "host_path is \"srv\": it must be an absolute path"),
        (mount_with(|m| m.host_path = String::new()), "host_path is \"\": it must be an absolute path"),
        (
            mount_with(|m| m.container_path = "data".to_owned()),
            "container_path is \"data\": it must be an absolute path",
        ),
        (mount_with(|m| m.propagation = 3), "propagation is 3: the CRI has no such value"),
        (
            mount_with(|m| m.image_sub_path = "x".to_owned()),
            "image_sub_path is \"x\": it needs an image whose path it is",
        ),
        (
            mount_with(|m| m.recursive_read_only = true),
            "recursive_read_only is true: it demands that readonly is true as well",
        ),
        (
            mount_with(|m| (m.recursive_read_only, m.readonly, m.propagation) = (true, true, bidirectional)),
            "recursive_read_only is true: it demands private propagation",
        ),
        (
            image_mount(|m| m.host_path = "/srv".to_owned()),
            "host_path is \"/srv\": a mount has a host path or an image, not both",
        ),
        (
            image_mount(|m| m.image_sub_path = "a/../../b".to_owned()),
            "image_sub_path is \"a/../../b\": it must not have \"..\"",
        ),
        (image_mount(|m| m.image = Some(Default::default())), "image.image is \"\": it must not be empty"),
    ] {
        assert_eq!(result.unwrap_err(), format!("{field}.{expected}"));
    }
    let unequal = mount_with(|m| m.uid_mappings = mappings(0, 5, 1)).unwrap_err();
    assert!(unequal.ends_with("users and groups of a mount are mapped both or not at all"), "{unequal}");
}

#[test]
fn an_image_is_mounted_read_only_whatever_the_request_says() {
    let mount = image_mount(|m| m.image_sub_path = "etc".to_owned()).unwrap();
    assert!(mount.readonly);
    let MountSource::Image { image, sub_path } = mount.source else { panic!("{mount:?}") };
    assert_eq!((image.image.as_str(), sub_path.as_str()), ("data:1", "etc"));
    let mount = mount_with(|m| m.propagation = v1::MountPropagation::PropagationHostToContainer.into()).unwrap();
    assert_eq!((mount.readonly, mount.propagation), (false, Propagation::HostToContainer));
}

#[test]
fn limits_are_refused_outside_what_the_kernel_knows() {
    type Change = fn(&mut v1::LinuxContainerResources);
    let cases: [(Change, &str); 8] = [
        (|l| l.cpu_quota = -2, "linux.cpu_quota is -2: it must be at least -1"),
        (|l| l.memory_limit_in_bytes = -2, "linux.memory_limit_in_bytes is -2: it must be at least -1"),
        (|l| l.oom_score_adj = 1001, "linux.oom_score_adj is 1001: it must be between -1000 and 1000"),
        (
            |l| l.cpuset_cpus = "0-".to_owned(),
            "linux.cpuset_cpus is \"0-\": it must be a list of numbers and ranges, as \"0-3,7\"",
        ),
        (
            |l| l.hugepage_limits = vec![v1::HugepageLimit { page_size: "2MiB".to_owned(), limit: 1 }],
            "linux.hugepage_limits[0].page_size is \"2MiB\": it must be a size as the kernel spells it, \"2MB\" or \"1GB\"",
        ),
        (
            |l| drop(l.unified.insert("cgroup.procs".to_owned(), "1".to_owned())),
            "linux.unified.cgroup.procs is \"1\": its key must be a controller's file of cgroup v2, as \"memory.high\"",
        ),
        (
            |l| drop(l.unified.insert("../memory.high".to_owned(), "1".to_owned())),
            "linux.unified.../memory.high is \"1\": its key must be a controller's file of cgroup v2, as \"memory.high\"",
        ),
        (
            |l| drop(l.unified.insert("memory".to_owned(), "1".to_owned())),
            "linux.unified.memory is \"1\": its key must be a controller's file of cgroup v2, as \"memory.high\"",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(limits_with(change).unwrap_err(), expected);
    }
    let good = limits_with(|l| {
        l.cpu_quota = -1;
        l.cpuset_cpus = " 0-3,7 ".to_owned();
        l.unified.insert("memory.high".to_owned(), "max".to_owned());
        l.hugepage_limits = vec![v1::HugepageLimit { page_size: "1GB".to_owned(), limit: 1 << 30 }];
    });
    assert_eq!(good.unwrap().cpuset_cpus, "0-3,7");
}

#[test]
fn signals_are_known_by_name() {
    for (number, expected) in [
        (v1::Signal::RuntimeDefault, None),
        (v1::Signal::Sigterm, Some(15)),
        (v1::Signal::Sigcld, Some(17)),
        (v1::Signal::Sigpoll, Some(29)),
        (v1::Signal::Sigrtminplus3, Some(37)),
        (v1::Signal::Sigrtmaxminus14, Some(50)),
        (v1::Signal::Sigrtmax, Some(64)),
    ] {
        assert_eq!(signal(number).map(Signal::number), expected, "{number:?}");
    }
    let every = (1..=65).map(|number| v1::Signal::try_from(number).unwrap());
    assert!(every.into_iter().all(|name| signal(name).is_some()));
}

#[test]
fn pulls_need_a_reference_and_keep_credentials_only_where_there_are_some() {
    let request = |image: &str, auth| v1::PullImageRequest {
        image: Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() }),
        auth,
        sandbox_config: None,
    };
    let plain = pull(request("nginx", Some(Default::default()))).unwrap();
    assert_eq!((plain.reference.to_string().as_str(), plain.credentials), ("docker.io/library/nginx:latest", None));
    let auth = v1::AuthConfig { identity_token: "t".to_owned(), ..Default::default() };
    assert_eq!(pull(request("nginx", Some(auth))).unwrap().credentials.unwrap().identity_token, "t");
    let refused = |image: &str| pull(request(image, None)).map(|_| ()).unwrap_err().to_string();
    assert_eq!(refused(""), "image.image is \"\": it must not be empty");
    assert!(
        refused("NGINX").starts_with("image.image is \"NGINX\": a repository has components"),
        "{}",
        refused("NGINX")
    );
    let id = format!("sha256:{}", "a".repeat(64));
    assert!(refused(&id).ends_with("an image cannot be fetched by its id, only by a name with tag or digest"));
    let missing = pull(v1::PullImageRequest::default()).map(|_| ()).unwrap_err();
    assert_eq!(missing.to_string(), "image is missing: it is required");
}

#[test]
fn times_are_not_negative_and_zero_has_its_meaning() {
    use std::time::Duration;
    assert_eq!(grace_period(0), Ok(Duration::ZERO));
    assert_eq!(grace_period(-1).unwrap_err().to_string(), "timeout is -1: it must not be negative");
    assert_eq!(execution_limit(0), Ok(None));
    assert_eq!(execution_limit(3), Ok(Some(Duration::from_secs(3))));
    assert!(execution_limit(i64::MIN).is_err());
    assert_eq!(command(vec![]).unwrap_err().to_string(), "cmd is []: there is nothing to execute");
}

#[test]
fn an_empty_id_names_nothing() {
    assert_eq!(
        id("container_id", String::new()).unwrap_err().to_string(),
        "container_id is \"\": it must not be empty"
    );
}

#[test]
fn a_client_wants_some_stream_and_no_stderr_of_a_terminal() {
    assert!(wanted(false, true, true, false).is_ok());
    assert!(wanted(true, false, false, true).is_ok());
    let refused = |stdin, stdout, stderr, terminal| wanted(stdin, stdout, stderr, terminal).unwrap_err().to_string();
    assert!(refused(true, true, true, true).contains("a terminal has one output"));
    assert!(refused(false, false, false, false).contains("must be wanted"));
}

#[test]
fn ports_are_those_of_tcp() {
    assert_eq!(ports(vec![1, 65535]), Ok(vec![1, 65535]));
    for bad in [0, -1, 65536] {
        assert_eq!(
            ports(vec![80, bad]).unwrap_err().to_string(),
            format!("port[1] is {bad}: it must be between 1 and 65535")
        );
    }
}
