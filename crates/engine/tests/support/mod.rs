//! A pod and a container as tests ask for them, and the settings of an engine that touches nothing.

use std::collections::BTreeMap;

use cradle_engine::Settings;
use cradle_engine::ports::UserNamespaceSupport;
use cradle_engine::spec::{
    Capabilities, ContainerSecurity, ContainerSpec, Dns, GroupsPolicy, ImageRequest, NamespaceMode, PodNamespaceModes,
    PodSpec, Profile, Resources,
};
use cradle_executor::cgroup::Layout;
use cradle_executor::plan::Facts;

/// An engine's settings, with a folder of control groups that does not exist.
pub fn settings() -> Settings {
    let state = std::env::temp_dir().join(format!("cradle-engine-test-{}", std::process::id()));
    let mut facts = Facts::read().unwrap();
    facts.layout = Layout::v1(&state.join("no-cgroups"), &["devices", "memory", "cpu", "cpuset", "pids"]);
    Settings {
        cgroup_root: "/cradle".into(),
        log_line_max_bytes: 16 * 1024,
        state,
        facts,
        hostname: "node".into(),
        resolv_conf: "/etc/resolv.conf".into(),
        user_namespaces: UserNamespaceSupport::Mapped,
    }
}

pub fn pod_spec() -> PodSpec {
    PodSpec {
        name: "web".into(),
        namespace: "default".into(),
        uid: "uid".into(),
        attempt: 0,
        hostname: "web".into(),
        log_directory: String::new(),
        dns: Dns::default(),
        port_mappings: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        handler: String::new(),
        cgroup_parent: "/kubepods/web".into(),
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
        seccomp: Profile::Unset,
        apparmor: Profile::Unset,
        resources: None,
        overhead: None,
    }
}

pub fn container_spec() -> ContainerSpec {
    ContainerSpec {
        name: "app".into(),
        attempt: 0,
        image: ImageRequest { image: "image".into(), ..ImageRequest::default() },
        command: Vec::new(),
        args: Vec::new(),
        working_dir: String::new(),
        env: Vec::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        cdi_devices: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log_path: String::new(),
        stdin: false,
        stdin_once: false,
        terminal: false,
        stop_signal: None,
        resources: Resources::default(),
        security: ContainerSecurity {
            capabilities: Capabilities::default(),
            privileged: false,
            pid: NamespaceMode::Container,
            selinux: None,
            run_as_user: None,
            run_as_username: String::new(),
            run_as_group: None,
            supplemental_groups: Vec::new(),
            groups_policy: GroupsPolicy::Merge,
            readonly_rootfs: false,
            no_new_privs: false,
            seccomp: Profile::Unset,
            apparmor: Profile::Unset,
            masked_paths: Vec::new(),
            readonly_paths: Vec::new(),
        },
    }
}
