//! Device nodes and links of `/dev` (OCI config-linux.md, Default Devices).

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::{DeviceNode, NodeKind, PlanError, Step};

/// Every container has these, all of them major number 1 or 5.
const DEFAULT_NODES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// The default nodes, those of the specification (which replace defaults of the same path) and the links.
pub(super) fn plan(listed: &[LinuxDevice]) -> Result<Vec<Step>, PlanError> {
    let mut nodes: Vec<DeviceNode> = DEFAULT_NODES
        .iter()
        .map(|(at, major, minor)| DeviceNode {
            at: PathBuf::from(at),
            kind: NodeKind::Character { major: *major, minor: *minor },
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    for device in listed {
        let node = node(device)?;
        match nodes.iter_mut().find(|known| known.at == node.at) {
            Some(known) => *known = node,
            None => nodes.push(node),
        }
    }
    let links = LINKS.iter().map(|(at, target)| Step::MakeLink { at: at.into(), target: target.into() });
    Ok(nodes.into_iter().map(Step::MakeNode).chain(links).collect())
}

fn node(device: &LinuxDevice) -> Result<DeviceNode, PlanError> {
    let at = device.path();
    if !at.is_absolute() {
        return Err(invalid(at, "is not absolute"));
    }
    let number = |number: i64| u32::try_from(number).map_err(|_| invalid(at, "has an impossible device number"));
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => {
            NodeKind::Character { major: number(device.major())?, minor: number(device.minor())? }
        }
        LinuxDeviceType::B => NodeKind::Block { major: number(device.major())?, minor: number(device.minor())? },
        LinuxDeviceType::P => NodeKind::Fifo,
        LinuxDeviceType::A => return Err(invalid(at, "is of the type \"a\", which is no device")),
    };
    Ok(DeviceNode {
        at: at.clone(),
        kind,
        // The specification's mode may carry the bits of the file type.
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

fn invalid(at: &Path, problem: &'static str) -> PlanError {
    PlanError::Invalid { field: "linux.devices", value: at.display().to_string(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_device_replaces_the_default_one() {
        let json = r#"[{"path":"/dev/null","type":"c","major":1,"minor":3,"fileMode":438,"uid":7},
            {"path":"/dev/fuse","type":"c","major":10,"minor":229}]"#;
        let steps = plan(&serde_json::from_str::<Vec<LinuxDevice>>(json).unwrap()).unwrap();
        let text: Vec<String> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(text.iter().filter(|line| line.contains("/dev/null")).count(), 1);
        assert!(text.contains(&"make /dev/null: character device 1:3, mode 666, owner 7:0".to_owned()), "{text:?}");
        assert!(text.contains(&"make /dev/fuse: character device 10:229, mode 666, owner 0:0".to_owned()), "{text:?}");
    }

    #[test]
    fn a_device_that_cannot_be_made_is_refused() {
        for (json, problem) in [
            (r#"[{"path":"x","type":"c","major":1,"minor":3}]"#, "is not absolute"),
            (r#"[{"path":"/dev/x","type":"c","major":-1,"minor":3}]"#, "has an impossible device number"),
            (r#"[{"path":"/dev/x","type":"a"}]"#, "is of the type \"a\", which is no device"),
        ] {
            let error = plan(&serde_json::from_str::<Vec<LinuxDevice>>(json).unwrap()).unwrap_err().to_string();
            assert!(error.ends_with(problem), "{error}");
        }
    }
}
