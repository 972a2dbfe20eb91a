//! The target on messages in which most fields are set, and on what a mutator makes of them.

use std::collections::BTreeMap;

use cradle_testkit::fuzz::Replay;

use super::*;

fn map(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn id(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
}

fn profile() -> Option<v1::SecurityProfile> {
    Some(v1::SecurityProfile { profile_type: 2, localhost_ref: text("/etc/seccomp.json") })
}

fn limits() -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 1 << 30,
        oom_score_adj: -999,
        cpuset_cpus: text("0-3,7"),
        cpuset_mems: text("0"),
        hugepage_limits: vec![v1::HugepageLimit { page_size: text("2MB"), limit: 4 << 20 }],
        unified: map("memory.high", "1000000"),
        memory_swap_limit_in_bytes: 2 << 30,
    }
}

fn namespaces() -> Option<v1::NamespaceOption> {
    let mappings = vec![v1::IdMapping { host_id: 100_000, container_id: 0, length: 65_536 }];
    Some(v1::NamespaceOption {
        network: 2,
        pid: 3,
        ipc: 0,
        target_id: text("0123456789abcdef"),
        userns_options: Some(v1::UserNamespace { mode: 0, uids: mappings.clone(), gids: mappings }),
    })
}

fn image() -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec {
        image: text("docker.io/library/nginx:1.27"),
        annotations: map("a", "b"),
        ..Default::default()
    })
}

fn auth() -> Option<v1::AuthConfig> {
    Some(v1::AuthConfig {
        username: text("kim"),
        password: text("x"),
        server_address: text("docker.io"),
        ..Default::default()
    })
}

fn pod_config() -> v1::PodSandboxConfig {
    let context = v1::LinuxSandboxSecurityContext {
        namespace_options: namespaces(),
        run_as_user: id(1000),
        run_as_group: id(1000),
        supplemental_groups: vec![1, 2],
        seccomp: profile(),
        apparmor: profile(),
        ..Default::default()
    };
    let linux = v1::LinuxPodSandboxConfig {
        cgroup_parent: text("/kubepods/burstable/pod1"),
        sysctls: map("net.core.somaxconn", "1024"),
        security_context: Some(context),
        overhead: Some(limits()),
        resources: Some(limits()),
    };
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: text("web"),
            uid: text("u"),
            namespace: text("default"),
            attempt: 1,
        }),
        hostname: text("web-1"),
        log_directory: text("/var/log/pods/web"),
        dns_config: Some(v1::DnsConfig {
            servers: vec![text("10.96.0.10")],
            searches: vec![text("svc.cluster.local")],
            options: vec![text("ndots:5")],
        }),
        port_mappings: vec![v1::PortMapping { protocol: 1, container_port: 80, host_port: 8080, host_ip: text("::1") }],
        labels: map("app", "web"),
        annotations: map("note", "x"),
        linux: Some(linux),
        windows: None,
    }
}

fn container_config() -> v1::ContainerConfig {
    let context = v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: vec![text("NET_ADMIN")],
            drop_capabilities: vec![text("ALL")],
            add_ambient_capabilities: vec![text("CAP_CHOWN")],
        }),
        namespace_options: namespaces(),
        run_as_username: text("www-data"),
        masked_paths: vec![text("/proc/kcore")],
        readonly_paths: vec![text("/proc/sys")],
        seccomp: profile(),
        no_new_privs: true,
        ..Default::default()
    };
    let mount = v1::Mount {
        container_path: text("/data"),
        host_path: text("/srv/data"),
        readonly: true,
        recursive_read_only: true,
        propagation: 0,
        ..Default::default()
    };
    let of_image = v1::Mount {
        container_path: text("/models"),
        image: image(),
        image_sub_path: text("a/b"),
        ..Default::default()
    };
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: text("nginx"), attempt: 2 }),
        image: image(),
        command: vec![text("/bin/sh"), text("-c")],
        args: vec![text("exec sleep 1d")],
        working_dir: text("/srv"),
        envs: vec![v1::KeyValue { key: text("PATH"), value: text("/bin") }],
        mounts: vec![mount, of_image],
        devices: vec![v1::Device {
            container_path: text("/dev/x"),
            host_path: text("/dev/null"),
            permissions: text("rwm"),
        }],
        labels: map("app", "web"),
        log_path: text("nginx/0.log"),
        tty: true,
        linux: Some(v1::LinuxContainerConfig { resources: Some(limits()), security_context: Some(context) }),
        stop_signal: 9,
        ..Default::default()
    }
}

fn after(kind: u8, message: &impl Message) -> Vec<u8> {
    [&[kind], &message.encode_to_vec()[..]].concat()
}

#[test]
fn requests_do_no_harm() {
    let container = || text("0123456789abcdef");
    let selector = || map("app", "web");
    let pods = v1::PodSandboxFilter {
        id: container(),
        state: Some(v1::PodSandboxStateValue { state: 1 }),
        label_selector: selector(),
    };
    let containers = v1::ContainerFilter {
        pod_sandbox_id: container(),
        state: Some(v1::ContainerStateValue { state: 2 }),
        ..Default::default()
    };
    let cmd = || vec![text("ls"), text("-l")];
    let samples = vec![
        after(0, &v1::RunPodSandboxRequest { config: Some(pod_config()), runtime_handler: text("cradle") }),
        after(
            1,
            &v1::CreateContainerRequest {
                pod_sandbox_id: container(),
                config: Some(container_config()),
                sandbox_config: Some(pod_config()),
            },
        ),
        after(
            2,
            &v1::UpdateContainerResourcesRequest {
                container_id: container(),
                linux: Some(limits()),
                ..Default::default()
            },
        ),
        after(3, &v1::ExecSyncRequest { container_id: container(), cmd: cmd(), timeout: 10 }),
        after(
            4,
            &v1::ExecRequest {
                container_id: container(),
                cmd: cmd(),
                tty: true,
                stdin: true,
                stdout: true,
                stderr: false,
            },
        ),
        after(5, &v1::AttachRequest { container_id: container(), stdout: true, ..Default::default() }),
        after(6, &v1::PortForwardRequest { pod_sandbox_id: container(), port: vec![80, 443] }),
        after(7, &v1::StopContainerRequest { container_id: container(), timeout: 30 }),
        after(8, &v1::PullImageRequest { image: image(), auth: auth(), sandbox_config: None }),
        after(9, &v1::ImageStatusRequest { image: image(), verbose: true }),
        after(11, &v1::ListPodSandboxRequest { filter: Some(pods) }),
        after(12, &v1::ListContainersRequest { filter: Some(containers) }),
        after(22, &cradle_v1::PullRequest { reference: text("r.example:5000/a/b@sha256:0"), auth: auth() }),
        vec![0, 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    Replay::new("cri_request").run(samples, super::request);
}
