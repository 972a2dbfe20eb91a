//! Plans as text, one step a line: what `cradle explain` prints and golden files hold.

use std::ffi::CString;
use std::fmt;
use std::path::PathBuf;

use super::mount_options::Attributes;
use super::{
    Console, ContainerPlan, Depth, DeviceNode, ExecPlan, IdMapping, IdRange, Identity, Limit, Mount, MountSource,
    Namespace, Namespaces, NodeKind, Rootfs, SecurityModule, Step, UNLIMITED, Writable,
};

impl fmt::Display for ContainerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {}", self.id)?;
        for line in self.cgroup.to_string().lines() {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "clone: {}", self.namespaces)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for ExecPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "clone: into the namespaces and control groups of the container")?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mount new, pid {}, network {}, ipc {}", self.pid, self.network, self.ipc)?;
        write!(f, ", uts {}, cgroup {}", self.uts, self.cgroup)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Namespace::Host => f.write_str("of the host"),
            Namespace::New => f.write_str("new"),
            Namespace::Pod => f.write_str("of the pod"),
            Namespace::Path(path) => write!(f, "at {}", path.display()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::OpenBindSources => f.write_str("open the sources of the bind mounts"),
            Step::IsolateMounts => f.write_str("make every mount private"),
            Step::MountRoot { rootfs, label } => {
                write!(f, "mount the root: {rootfs}")?;
                label.as_ref().map_or(Ok(()), |label| write!(f, ", label {label}"))
            }
            Step::Mount(mount) => write!(f, "mount {mount}"),
            Step::ChangeMount { at, attributes } => write!(f, "change the mount at {}: {attributes}", at.display()),
            Step::MakeDirectory { at } => write!(f, "make the folder {} if it is missing", at.display()),
            Step::MakeNode(node) => write!(f, "make {node}"),
            Step::MakeLink { at, target } => write!(f, "link {} to {}", at.display(), target.display()),
            Step::OpenTerminal { console: Console::Bound } => f.write_str("open a terminal, bound to /dev/console"),
            Step::OpenTerminal { console: Console::Absent } => f.write_str("open a terminal"),
            Step::MaskPath(path) => write!(f, "mask {}", path.display()),
            Step::ProtectPath(path) => write!(f, "make {} read-only", path.display()),
            Step::EnterRoot => f.write_str("pivot to the root and let go of the host's"),
            Step::PropagateRoot(propagation) => write!(f, "make the root {propagation}"),
            Step::SetHostname(name) => write!(f, "set the host name {}", name.to_string_lossy()),
            Step::SetDomainname(name) => write!(f, "set the domain name {}", name.to_string_lossy()),
            Step::SetSysctl { name, value } => write!(f, "set the sysctl {name} = {value}"),
            process => fmt_process_step(process, f),
        }
    }
}

fn fmt_process_step(step: &Step, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match step {
        Step::JoinKeyring(name) => write!(f, "join the new session keyring {}", name.to_string_lossy()),
        Step::SetOomScoreAdj(score) => write!(f, "set oom_score_adj {score}"),
        Step::SetLabel { module: SecurityModule::AppArmor, label } => write!(f, "confine by AppArmor: {label}"),
        Step::SetLabel { module: SecurityModule::Selinux, label } => write!(f, "confine by SELinux: {label}"),
        Step::SetUmask(mask) => write!(f, "set umask {mask:03o}"),
        Step::EnterDirectory(path) => write!(f, "change to {}", path.display()),
        Step::SetLimit(limit) => write!(f, "limit {limit}"),
        Step::LimitCapabilities(set) => write!(f, "limit capabilities to {set}"),
        Step::SetIdentity(identity) => write!(f, "become {identity}"),
        Step::SetCapabilities(sets) => write!(
            f,
            "set capabilities: effective {}, permitted {}, inheritable {}, ambient {}",
            sets.effective, sets.permitted, sets.inheritable, sets.ambient
        ),
        Step::DieWithShim => f.write_str("die with the shim"),
        Step::CloseDescriptors => f.write_str("let execve close every descriptor but the first three"),
        Step::FindProgram { name, search } if name.as_bytes().contains(&b'/') || search.is_empty() => {
            write!(f, "find the program {}", name.to_string_lossy())
        }
        Step::FindProgram { name, search } => {
            write!(f, "find the program {} in {}", name.to_string_lossy(), joined(search))
        }
        Step::NoNewPrivileges => f.write_str("set no_new_privs"),
        Step::InstallFilter(program) => {
            write!(f, "install the seccomp filter: {} instructions, flags {:#x}", program.filter.len(), program.flags)
        }
        Step::Execute { arguments, environment } => {
            write!(f, "execute {} with {}", quoted(arguments), quoted(environment))
        }
        step => fmt_user_namespace_step(step, f),
    }
}

fn fmt_user_namespace_step(step: &Step, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match step {
        Step::MapOwners { folders, mapping } => write!(f, "map the owners in {}: {mapping}", joined(folders)),
        Step::MakeSources => f.write_str("make the overlays, sysfs and device nodes to be mounted"),
        Step::AllowLimit(limit) => write!(f, "allow {} up to {}", limit.resource, limit_value(limit.hard)),
        Step::EnterUserNamespace { mapping, stdio_owner } => {
            write!(f, "give the standard streams to user {stdio_owner}, enter the pod's user namespace: {mapping}")
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Rootfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rootfs::Directory(path) => write!(f, "{}", path.display()),
            Rootfs::Overlay { lower, upper, work } => {
                write!(f, "overlay of {}, upper {}, work {}", joined(lower), upper.display(), work.display())
            }
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at.display(), self.what)?;
        if self.attributes != Attributes::default() {
            write!(f, ", {}", self.attributes)?;
        }
        self.propagation.map_or(Ok(()), |propagation| write!(f, ", {propagation}"))
    }
}

impl fmt::Display for MountSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountSource::New { kind, source, options } => {
                write!(f, "{kind}")?;
                if source != kind {
                    write!(f, " {source}")?;
                }
                options.iter().try_for_each(|option| write!(f, ", {option}"))
            }
            MountSource::Bind { source, depth, mapping } => {
                let kind = if *depth == Depth::Tree { "rbind" } else { "bind" };
                write!(f, "{kind} {}", source.display())?;
                mapping.as_ref().map_or(Ok(()), |mapping| write!(f, ", {mapping}"))
            }
            MountSource::PodShm => f.write_str("the pod's shared memory"),
            MountSource::Overlay { lower, writable, sub_path } => {
                if let Some(path) = sub_path {
                    write!(f, "{} in ", path.display())?;
                }
                write!(f, "overlay of {}", joined(lower))?;
                let Some(Writable { upper, work }) = writable else { return Ok(()) };
                write!(f, ", upper {}, work {}", upper.display(), work.display())
            }
        }
    }
}

impl fmt::Display for DeviceNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at.display())?;
        match self.kind {
            NodeKind::Character { major, minor } => write!(f, "character device {major}:{minor}")?,
            NodeKind::Block { major, minor } => write!(f, "block device {major}:{minor}")?,
            NodeKind::Fifo => f.write_str("fifo")?,
        }
        write!(f, ", mode {:o}, owner {}:{}", self.mode, self.uid, self.gid)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.supplementary_gids.iter().map(ToString::to_string).collect();
        let groups = if groups.is_empty() { "none".to_owned() } else { groups.join(" ") };
        write!(f, "user {}, group {}, supplementary groups {groups}", self.uid, self.gid)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: soft {}, hard {}", self.resource, limit_value(self.soft), limit_value(self.hard))
    }
}

impl fmt::Display for IdMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "users {}, groups {}", ranges(&self.uids), ranges(&self.gids))
    }
}

fn limit_value(value: u64) -> String {
    if value == UNLIMITED { "unlimited".to_owned() } else { value.to_string() }
}

fn joined(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}

fn quoted(texts: &[CString]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{:?}", text.to_string_lossy())).collect();
    format!("[{}]", texts.join(", "))
}

fn ranges(ranges: &[IdRange]) -> String {
    let range = |range: &IdRange| format!("{}→{}+{}", range.inside, range.outside, range.length);
    ranges.iter().map(range).collect::<Vec<_>>().join(" ")
}
