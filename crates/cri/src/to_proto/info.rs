//! The `info` of verbose answers: JSON for people, as `crictl inspect`, `inspectp`, `inspecti` and `info` print it.

use std::collections::BTreeMap;

use cradle_engine::EngineStatus;
use cradle_engine::ports::ImagesStatus;
use cradle_engine::spec::{NamespaceMode, PodSpec};
use cradle_engine::view::{ContainerView, ImageHistory, ImageView, PodView};
use serde_json::{Map, Value, json};

use crate::edge::Facts;

/// JSON texts by topic.
type Info = BTreeMap<String, String>;

fn topic(name: &str, value: &Value) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// A pod's process, namespaces and specification.
pub fn pod_info(view: &PodView) -> Info {
    let info = json!({
        "pid": view.shim_pid.unwrap_or_default(),
        "runtimeHandler": view.spec.handler,
        "cgroup": view.cgroup,
        "leftovers": view.leftovers,
        "containers": view.containers.iter().map(|container| container.id.as_str()).collect::<Vec<_>>(),
        "config": specification(&*view.spec),
        "runtimeSpec": { "linux": { "cgroupsPath": view.cgroup, "namespaces": pod_namespaces(&view.spec, view.shim_pid) } },
    });
    Info::from([topic("info", &info)])
}

/// The pod's namespaces in the form of an OCI runtime specification; one without a path is the pod's, but not there.
fn pod_namespaces(spec: &PodSpec, pid: Option<i32>) -> Vec<Value> {
    let of = |kind: &str, file: &str| match pid {
        Some(pid) => json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") }),
        None => json!({ "type": kind }),
    };
    let modes = &spec.namespaces;
    let mut namespaces = Vec::new();
    if modes.network == NamespaceMode::Pod {
        namespaces.extend([of("network", "net"), of("uts", "uts")]);
    }
    if modes.ipc == NamespaceMode::Pod {
        namespaces.push(of("ipc", "ipc"));
    }
    if modes.pid == NamespaceMode::Pod {
        namespaces.push(of("pid", "pid_for_children"));
    }
    if modes.user.is_some() {
        namespaces.push(of("user", "user"));
    }
    namespaces
}

/// A container's process, image and specification.
pub fn container_info(view: &ContainerView) -> Info {
    let mut config = specification(&*view.spec);
    if let Some(config) = config.as_object_mut() {
        let env = view.spec.env.iter().map(|(key, value)| format!("{key}={value}"));
        config.insert("env".to_owned(), env.collect());
    }
    let info = json!({
        "sandboxID": view.pod.as_str(),
        "pid": view.pid.unwrap_or_default(),
        "cgroup": view.cgroup,
        "image": view.image.name,
        "writableLayer": view.writable_layer,
        "logLostBytes": view.log_lost_bytes,
        "config": config,
    });
    Info::from([topic("info", &info)])
}

/// An image's configuration in the form of the OCI image specification.
pub fn image_info(view: &ImageView) -> Info {
    let config = &view.config;
    // Sets are written as objects with empty values there.
    let set = |items: &[String]| items.iter().map(|item| (item.clone(), json!({}))).collect::<Map<_, _>>();
    let info = json!({
        "imageSpec": {
            "created": config.created,
            "author": config.author,
            "architecture": config.architecture,
            "os": config.os,
            "config": {
                "User": config.user,
                "ExposedPorts": set(&config.exposed_ports),
                "Env": config.env,
                "Entrypoint": config.entrypoint,
                "Cmd": config.cmd,
                "Volumes": set(&config.volumes),
                "WorkingDir": config.working_dir,
                "Labels": config.labels,
                "StopSignal": config.stop_signal.map(|signal| signal.to_string()),
            },
            "rootfs": { "type": "layers", "diff_ids": view.layers },
            "history": config.history.iter().map(history).collect::<Vec<_>>(),
        },
    });
    Info::from([topic("info", &info)])
}

fn history(line: &ImageHistory) -> Value {
    json!({
        "created": line.created,
        "created_by": line.created_by,
        "comment": line.comment,
        "empty_layer": line.empty_layer,
    })
}

/// The daemon's version, configuration, what it has done and what it still has to do.
pub fn status_info(status: &EngineStatus, images: &ImagesStatus, facts: &Facts) -> Info {
    let cradle = json!({
        "version": facts.version,
        "pods": status.pods,
        "containers": status.containers,
        "images": images,
        "repairs": status.repairs,
        "damagedRecords": status.damaged,
        "warnings": status.warnings,
    });
    Info::from([topic("cradle", &cradle), topic("config", &facts.config)])
}

/// A specification as it is recorded; one that JSON cannot hold is not shown.
fn specification(spec: &impl serde::Serialize) -> Value {
    serde_json::to_value(spec).unwrap_or(Value::Null)
}
