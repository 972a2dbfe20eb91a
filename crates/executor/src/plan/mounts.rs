//! Mounts of an OCI specification as steps.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxIdMapping;

use super::mount_options::{self, Attributes, MountOptions, NODEV, NOEXEC, NOSUID, RDONLY};
use super::{
    Depth, FilesystemOption, IdMapping, IdRange, Mount, MountSource, Namespace, POD_SHM, PlanError, SUB_PATH, Step,
    Writable,
};
use crate::cgroup::{Hierarchy, Kind, Layout};

type OciMount = oci_spec::runtime::Mount;

const FIELD: &str = "mounts";

/// What a mount's meaning depends on.
pub(super) struct MountContext<'a> {
    pub layout: &'a Layout,
    /// The container's control group, relative to each hierarchy's root.
    pub cgroup: &'a str,
    pub cgroup_namespace: &'a Namespace,
    /// The SELinux label of file systems made for the container.
    pub label: Option<&'a str>,
}

/// The steps of all mounts, in the order of the specification.
pub(super) fn plan(mounts: &[OciMount], context: &MountContext<'_>) -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let at = mount.destination();
        if !at.is_absolute() {
            return Err(invalid(at, "is not absolute"));
        }
        let options = mount_options::parse(mount.options().as_deref().unwrap_or_default())?;
        match (options.bind, mount.typ().as_deref()) {
            (None, Some("cgroup" | "cgroup2")) => cgroup(at, &options, context, &mut steps),
            (bind, kind) => steps.push(Step::Mount(one(mount, bind, kind, options, context)?)),
        }
    }
    Ok(steps)
}

fn one(
    mount: &OciMount,
    bind: Option<Depth>,
    kind: Option<&str>,
    options: MountOptions,
    context: &MountContext<'_>,
) -> Result<Mount, PlanError> {
    let at = mount.destination();
    let MountOptions { mut attributes, propagation, filesystem, idmap, .. } = options;
    let bind = bind.or(if kind == Some("bind") { Some(Depth::Tree) } else { None });
    let what = match (bind, kind) {
        (Some(depth), _) => {
            let mapping = id_mapping(mount, idmap)?;
            // What the host has mounted read-only stays so: "rw" says that nothing more is made read-only.
            attributes.mount.clear &= !RDONLY;
            attributes.tree.clear &= !RDONLY;
            MountSource::Bind { source: source(mount)?, depth, mapping }
        }
        (None, Some(POD_SHM)) => MountSource::PodShm,
        (None, Some("overlay")) if mount.uid_mappings().is_some() => {
            return Err(PlanError::Unimplemented { feature: "an overlay with a mapping of its own".into() });
        }
        (None, Some("overlay")) => overlay(at, filesystem)?,
        (None, Some(kind)) => new_filesystem(mount, kind, filesystem, context),
        (None, None) => return Err(invalid(at, "has neither a type nor the option bind")),
    };
    Ok(Mount { at: at.clone(), what, attributes, propagation })
}

fn new_filesystem(
    mount: &OciMount,
    kind: &str,
    mut options: Vec<FilesystemOption>,
    context: &MountContext<'_>,
) -> MountSource {
    if let (Some(label), "tmpfs" | "devpts") = (context.label, kind) {
        options.push(FilesystemOption { key: "context".into(), value: Some(label.to_owned()) });
    }
    let source = mount.source().as_ref().map_or_else(|| kind.to_owned(), |source| source.display().to_string());
    MountSource::New { kind: kind.to_owned(), source, options }
}

fn source(mount: &OciMount) -> Result<PathBuf, PlanError> {
    match mount.source() {
        Some(source) if source.is_absolute() => Ok(source.clone()),
        Some(_) => Err(invalid(mount.destination(), "has a bind source that is not absolute")),
        None => Err(invalid(mount.destination(), "is a bind mount without a source")),
    }
}

fn id_mapping(mount: &OciMount, asked: bool) -> Result<Option<IdMapping>, PlanError> {
    let ranges = |ranges: &Option<Vec<LinuxIdMapping>>| id_ranges(ranges.as_deref().unwrap_or_default());
    let mapping = IdMapping { uids: ranges(mount.uid_mappings()), gids: ranges(mount.gid_mappings()) };
    match (mapping.uids.is_empty(), mapping.gids.is_empty()) {
        (true, true) if asked => {
            Err(PlanError::Unimplemented { feature: "the mount option \"idmap\" without mappings".into() })
        }
        (true, true) => Ok(None),
        (false, false) => Ok(Some(mapping)),
        _ => Err(invalid(mount.destination(), "maps only users or only groups")),
    }
}

/// The ranges of a mapping, as they come.
pub(super) fn id_ranges(ranges: &[LinuxIdMapping]) -> Vec<IdRange> {
    let range = |range: &LinuxIdMapping| IdRange {
        inside: range.container_id(),
        outside: range.host_id(),
        length: range.size(),
    };
    ranges.iter().map(range).collect()
}

/// `lowerdir=TOP:…:BOTTOM`, or `lowerdir+=` for each folder, the topmost first, as the kernel has both; `upperdir`,
/// `workdir` and [`SUB_PATH`].
fn overlay(at: &Path, options: Vec<FilesystemOption>) -> Result<MountSource, PlanError> {
    let (mut lower, mut upper, mut work, mut sub_path) = (Vec::new(), None, None, None);
    for option in options {
        let FilesystemOption { key, value: Some(value) } = option else {
            return Err(unknown(at, &option));
        };
        match key.as_str() {
            "lowerdir" => lower.extend(value.split(':').map(PathBuf::from)),
            "lowerdir+" => lower.push(PathBuf::from(value)),
            "upperdir" => upper = Some(PathBuf::from(value)),
            "workdir" => work = Some(PathBuf::from(value)),
            SUB_PATH => sub_path = Some(PathBuf::from(value)),
            _ => return Err(unknown(at, &FilesystemOption { key, value: Some(value) })),
        }
    }
    let writable = match (upper, work) {
        (Some(upper), Some(work)) => Some(Writable { upper, work }),
        (None, None) => None,
        _ => return Err(invalid(at, "is an overlay with only one of upperdir and workdir")),
    };
    let is_absolute = |writable: &Writable| writable.upper.is_absolute() && writable.work.is_absolute();
    if lower.is_empty() {
        return Err(invalid(at, "is an overlay without lowerdir"));
    }
    if !lower.iter().all(|folder| folder.is_absolute()) || !writable.as_ref().is_none_or(is_absolute) {
        return Err(invalid(at, "is an overlay of folders that are not absolute"));
    }
    Ok(MountSource::Overlay { lower, writable, sub_path })
}

fn unknown(at: &Path, option: &FilesystemOption) -> PlanError {
    PlanError::Unimplemented { feature: format!("the option {option} of the overlay at {}", at.display()) }
}

/// `/sys/fs/cgroup`: the container's own group in every hierarchy. These are bind mounts of the host's, so that they can
/// be made before the process has joined its groups; seen from the container's cgroup namespace they are the roots.
fn cgroup(at: &Path, options: &MountOptions, context: &MountContext<'_>, steps: &mut Vec<Step>) {
    let group = context.cgroup.trim_start_matches('/');
    let bind = |at: PathBuf, source: PathBuf| {
        Step::Mount(Mount {
            at,
            what: MountSource::Bind { source, depth: Depth::Mount, mapping: None },
            attributes: options.attributes,
            propagation: options.propagation,
        })
    };
    let hierarchies = match context.layout {
        Layout::V2 { root } if *context.cgroup_namespace == Namespace::Host => {
            return steps.push(bind(at.to_owned(), root.mount_point().to_owned()));
        }
        Layout::V2 { root } => return steps.push(bind(at.to_owned(), root.mount_point().join(group))),
        // A unified tree beside v1 is how the runtime tracks processes, and nothing that programs look for.
        Layout::V1 { hierarchies } => hierarchies.iter().filter(|tree| *tree.kind() != Kind::Unified),
    };
    let flags = mount_options::AttributeChange { set: NOSUID | NODEV | NOEXEC, clear: 0 };
    steps.push(Step::Mount(Mount {
        at: at.to_owned(),
        what: MountSource::New {
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            options: vec![FilesystemOption { key: "mode".into(), value: Some("755".into()) }],
        },
        attributes: Attributes { mount: flags, ..Attributes::default() },
        propagation: None,
    }));
    for hierarchy in hierarchies.map(Hierarchy::mount_point) {
        let Some(name) = hierarchy.file_name() else { continue };
        steps.push(bind(at.join(name), hierarchy.join(group)));
        // "cpu,cpuacct" is known by both names.
        let name = name.to_string_lossy();
        for alias in name.split(',').filter(|alias| *alias != name) {
            steps.push(Step::MakeLink { at: at.join(alias), target: PathBuf::from(&*name) });
        }
    }
    if options.attributes.mount.set & RDONLY != 0 {
        steps.push(Step::ChangeMount { at: at.to_owned(), attributes: Attributes::READ_ONLY });
    }
}

fn invalid(at: &Path, problem: &'static str) -> PlanError {
    PlanError::Invalid { field: FIELD, value: at.display().to_string(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        let mounts: Vec<OciMount> = serde_json::from_str(json).unwrap();
        let layout = Layout::v2(Path::new("/sys/fs/cgroup"), &[]);
        let context = MountContext { layout: &layout, cgroup: "/c", cgroup_namespace: &Namespace::New, label: None };
        plan(&mounts, &context).unwrap_err().to_string()
    }

    #[test]
    fn a_mount_that_cannot_be_meant_is_refused_by_its_destination() {
        for (json, text) in [
            (r#"[{"destination":"x","type":"tmpfs"}]"#, r#"mounts "x" is not absolute"#),
            (r#"[{"destination":"/x"}]"#, r#"mounts "/x" has neither a type nor the option bind"#),
            (r#"[{"destination":"/x","type":"bind"}]"#, r#"mounts "/x" is a bind mount without a source"#),
            (
                r#"[{"destination":"/x","type":"bind","source":"y"}]"#,
                r#"mounts "/x" has a bind source that is not absolute"#,
            ),
            (r#"[{"destination":"/x","type":"overlay"}]"#, r#"mounts "/x" is an overlay without lowerdir"#),
            (
                r#"[{"destination":"/x","type":"overlay","options":["lowerdir=/a:/b","index=on"]}]"#,
                "the option index=on of the overlay at /x is not supported",
            ),
            (
                r#"[{"destination":"/x","source":"/y","options":["bind"],
                    "uidMappings":[{"hostID":1,"containerID":0,"size":1}]}]"#,
                r#"mounts "/x" maps only users or only groups"#,
            ),
        ] {
            assert_eq!(refusal(json), text);
        }
    }
}
