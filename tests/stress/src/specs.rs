//! Pods and containers as the kubelet asks for them.

use std::path::Path;

use cradle_cri_api::v1;

use crate::node::Home;

/// A shell with the usual small programs; its first process ends at once by SIGTERM only if it asks for it.
pub const BUSYBOX: &str = "registry.k8s.io/e2e-test-images/busybox:1.29-2";
/// Answers on port 80.
pub const HTTPD: &str = "registry.k8s.io/e2e-test-images/httpd:2.4.39-4";
/// nginx as Debian has it.
pub const NGINX: &str = "docker.io/library/nginx:latest";

/// Runs until SIGTERM, and then ends at once. It says when it is ready for that: the first process of a PID namespace
/// gets no signal that it does not handle.
pub const OBEDIENT: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; echo ready; sleep 86400 & wait"];
/// Runs until SIGKILL.
pub const STUBBORN: [&str; 2] = ["sleep", "86400"];

/// A pod with a network of its own. Its name makes it unique on its node.
pub fn pod(home: &Home, name: &str) -> v1::PodSandboxConfig {
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "stress".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: home.logs().join(name).display().to_string(),
        labels: [("pod".to_owned(), name.to_owned())].into(),
        linux: Some(v1::LinuxPodSandboxConfig {
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(own_processes()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Each container sees its own processes only, as the kubelet asks for unless the pod says otherwise.
fn own_processes() -> v1::NamespaceOption {
    v1::NamespaceOption { pid: v1::NamespaceMode::Container.into(), ..Default::default() }
}

/// The namespaces of a pod, to be changed.
pub fn namespaces(config: &mut v1::PodSandboxConfig) -> &mut v1::NamespaceOption {
    let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    context.namespace_options.get_or_insert_default()
}

/// A pod on the host's network.
pub fn host_pod(home: &Home, name: &str) -> v1::PodSandboxConfig {
    let mut config = pod(home, name);
    config.hostname.clear();
    namespaces(&mut config).network = v1::NamespaceMode::Node.into();
    config
}

/// A container that sees the processes of its whole pod, if the pod shares them.
pub fn share_processes(config: &mut v1::ContainerConfig) {
    security(config).namespace_options.get_or_insert_default().pid = v1::NamespaceMode::Pod.into();
}

/// The next attempt of a pod.
pub fn next_attempt(config: &v1::PodSandboxConfig) -> v1::PodSandboxConfig {
    let mut next = config.clone();
    next.metadata.get_or_insert_default().attempt += 1;
    next
}

/// A container that logs to NAME.log.
pub fn container(name: &str, image: &str, command: &[&str]) -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: format!("{name}.log"),
        linux: Some(v1::LinuxContainerConfig {
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: Some(own_processes()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A shell script in busybox.
pub fn script(name: &str, script: &str) -> v1::ContainerConfig {
    container(name, BUSYBOX, &["sh", "-c", script])
}

/// Adds a folder of the host to a container.
pub fn mount(config: &mut v1::ContainerConfig, host: &Path, path: &str) {
    config.mounts.push(v1::Mount {
        host_path: host.display().to_string(),
        container_path: path.to_owned(),
        ..Default::default()
    });
}

/// The security context of a container, to be changed.
pub fn security(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

/// The limits of a container, to be changed.
pub fn limits(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerResources {
    config.linux.get_or_insert_default().resources.get_or_insert_default()
}
