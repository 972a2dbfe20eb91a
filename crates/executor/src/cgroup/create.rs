//! Making a group in every tree, with its limits and its devices; a failure leaves nothing behind.

use std::os::fd::AsFd;

use cradle_domain::{Class, Classified};
use cradle_sys::bpf;
use rustix::fs::{AtFlags, Mode, mkdirat, unlinkat};
use rustix::io::Errno;

use super::device::{DeviceRules, Verdict};
use super::device_program;
use super::file::{self, FileError};
use super::group::{AttachError, Cgroup};
use super::layout::{Hierarchy, Layout};
use super::limits::DEVICE_PROGRAMS_MAX;
use super::path::{BadPath, parent};
use super::plan::CgroupPlan;
use super::write::{LimitError, perform};

/// A group could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("making a control group")]
    Path { source: BadPath },
    #[error("making the control group {path}")]
    Directory { path: String, source: FileError },
    #[error("giving the control group {path} its processors")]
    Cpuset { path: String, source: FileError },
    #[error("giving the control group {path} its controllers")]
    Controllers { path: String, source: FileError },
    #[error("giving groups below {path} controllers: the kernel refuses that for a group with processes of its own")]
    InternalProcess { path: String },
    #[error("limiting the control group {path}")]
    Limit { path: String, source: LimitError },
    #[error("restricting the devices of the control group {path}")]
    DeviceFile { path: String, source: FileError },
    #[error("restricting the devices of the control group {path}")]
    DeviceDirectory { path: String, source: Box<AttachError> },
    #[error("restricting the devices of the control group {path} by a program")]
    DeviceProgram { path: String, source: Errno },
}

impl Classified for CreateError {
    fn class(&self) -> Class {
        match self {
            CreateError::Path { source } => source.class(),
            CreateError::Directory { source, .. }
            | CreateError::Cpuset { source, .. }
            | CreateError::Controllers { source, .. }
            | CreateError::DeviceFile { source, .. } => source.class(),
            CreateError::InternalProcess { .. } => Class::Refused,
            CreateError::Limit { source, .. } => source.class(),
            CreateError::DeviceDirectory { source, .. } => source.class(),
            CreateError::DeviceProgram { source, .. } => match *source {
                Errno::NOMEM | Errno::AGAIN | Errno::TOOBIG => Class::Exhausted,
                Errno::PERM | Errno::ACCESS => Class::Denied,
                _ => Class::Bug,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CreateError::InternalProcess { path } => {
                Some(format!("move the processes in {path} into a group below it, as cgroup v2 demands"))
            }
            CreateError::Limit { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// Makes the group and whatever is missing above it, and gives it its limits and devices. A group that is there
/// already is kept and gets them too, so the call can be repeated.
pub fn create(plan: &CgroupPlan, layout: &Layout) -> Result<Cgroup, CreateError> {
    let group = Cgroup::open(&plan.path, layout).map_err(|source| CreateError::Path { source })?;
    let mut made = Vec::new();
    match build(&group, plan, &mut made) {
        Ok(()) => Ok(group),
        Err(error) => {
            undo(layout, &group, &made);
            Err(error)
        }
    }
}

/// A directory that was made: the tree, by its place in the layout, and the length of the path.
type Made = (usize, usize);

fn undo(layout: &Layout, group: &Cgroup, made: &[Made]) {
    for &(tree, length) in made.iter().rev() {
        let tree = &layout.hierarchies()[tree];
        // One that somebody else has put a group into meanwhile stays, which is right.
        let _ = tree.root().and_then(|root| unlinkat(root, &group.path().as_str()[..length], AtFlags::REMOVEDIR));
    }
}

fn build(group: &Cgroup, plan: &CgroupPlan, made: &mut Vec<Made>) -> Result<(), CreateError> {
    let path = group.path().as_str();
    for (at, tree) in group.layout().hierarchies().iter().enumerate() {
        let mut record = |made_path: &str| made.push((at, made_path.len()));
        make_directories(tree, path, &mut record)
            .map_err(|source| CreateError::Directory { path: plan.path.clone(), source })?;
        if !tree.is_unified() && tree.has("cpuset") {
            fill_cpuset(tree, path).map_err(|source| CreateError::Cpuset { path: plan.path.clone(), source })?;
        }
    }
    if let Layout::V2 { root } = group.layout() {
        offer_controllers(root, path)?;
    }
    perform(group, &plan.writes).map_err(|source| CreateError::Limit { path: plan.path.clone(), source })?;
    let Some(rules) = &plan.devices else { return Ok(()) };
    match group.layout() {
        Layout::V1 { .. } => {
            write_devices(group, rules).map_err(|source| CreateError::DeviceFile { path: plan.path.clone(), source })
        }
        Layout::V2 { .. } => attach_devices(group, plan, rules, made.iter().any(|(_, length)| *length == path.len())),
    }
}

/// Usually all groups but the last are there, so the last is tried first.
fn make_directories(tree: &Hierarchy, path: &str, made: &mut impl FnMut(&str)) -> Result<(), FileError> {
    let make = || mkdirat(tree.root()?, path, Mode::from_raw_mode(0o755));
    let mut result = make();
    if result == Err(Errno::NOENT)
        && let Some(above) = parent(path)
    {
        make_directories(tree, above, made)?;
        result = make();
    }
    match result {
        Ok(()) => {
            made(path);
            Ok(())
        }
        Err(Errno::EXIST) => Ok(()),
        Err(source) => Err(FileError::new("making", tree, path, source)),
    }
}

/// A new group of cgroup v1 has no processors and takes no process until it gets some: those of the group above.
fn fill_cpuset(tree: &Hierarchy, path: &str) -> Result<(), FileError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fill_cpuset_file(tree, path, file)?;
    }
    Ok(())
}

fn fill_cpuset_file(tree: &Hierarchy, path: &str, file: &str) -> Result<String, FileError> {
    let own = format!("{path}/{file}");
    let present = file::read(tree, &own)?;
    if !present.trim().is_empty() {
        return Ok(present);
    }
    let inherited = match parent(path) {
        Some(above) => fill_cpuset_file(tree, above, file)?,
        None => file::read(tree, file)?,
    };
    file::write(tree, &own, inherited.trim())?;
    Ok(inherited)
}

/// Has every group above `path` pass on the controllers of the root, as every runtime does.
///
/// A controller that a group does not take is left out here: what needs it then fails by name.
fn offer_controllers(root: &Hierarchy, path: &str) -> Result<(), CreateError> {
    let failed = |source| CreateError::Controllers { path: format!("/{path}"), source };
    let wanted = root.controllers();
    let present = file::read(root, &format!("{path}/cgroup.controllers")).map_err(failed)?;
    if wanted.iter().all(|name| present.split_ascii_whitespace().any(|word| word == name)) {
        return Ok(());
    }
    let slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| &path[..at]);
    for above in std::iter::once("").chain(slashes) {
        offer_below(root, above, wanted).map_err(failed).and_then(|offered| match offered {
            Offered::Done => Ok(()),
            Offered::HasProcesses => {
                Err(CreateError::InternalProcess { path: root.full_path(above).display().to_string() })
            }
        })?;
    }
    Ok(())
}

enum Offered {
    Done,
    HasProcesses,
}

/// Switches controllers on for the groups below `group`, all at once or else one by one.
fn offer_below(root: &Hierarchy, group: &str, wanted: &[String]) -> Result<Offered, FileError> {
    let file =
        if group.is_empty() { "cgroup.subtree_control".to_owned() } else { format!("{group}/cgroup.subtree_control") };
    let line = |names: &[String]| names.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    match file::write(root, &file, &line(wanted)) {
        Ok(()) => return Ok(Offered::Done),
        Err(error) if matches!(error.errno(), Errno::BUSY | Errno::INVAL | Errno::NOENT | Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    let results: Vec<_> = wanted.iter().map(|name| file::write(root, &file, &format!("+{name}"))).collect();
    let is_busy = |result: &Result<(), FileError>| result.as_ref().is_err_and(|error| error.errno() == Errno::BUSY);
    if !results.is_empty() && results.iter().all(|result| result.is_err()) && results.iter().any(is_busy) {
        return Ok(Offered::HasProcesses);
    }
    Ok(Offered::Done)
}

/// cgroup v1: the base first, then each exception in its order.
fn write_devices(group: &Cgroup, rules: &DeviceRules) -> Result<(), FileError> {
    let Some(tree) = group.tree("devices") else { return Ok(()) };
    let path = group.path_in(tree);
    let put = |verdict, line: &str| match verdict {
        Verdict::Allow => file::write(tree, &format!("{path}/devices.allow"), line),
        Verdict::Deny => file::write(tree, &format!("{path}/devices.deny"), line),
    };
    put(rules.base, "a")?;
    rules.exceptions.iter().try_for_each(|rule| put(rule.verdict, &rule.v1_line()))
}

/// cgroup v2: attaches a program. It is attached so that groups below may have programs of their own (which can only
/// restrict further), and it stays as long as the group does. Programs of an earlier attempt go when the new one is in.
fn attach_devices(group: &Cgroup, plan: &CgroupPlan, rules: &DeviceRules, is_new: bool) -> Result<(), CreateError> {
    if is_new && rules.base == Verdict::Allow && rules.exceptions.is_empty() {
        return Ok(());
    }
    let directory = group
        .directory()
        .map_err(|source| CreateError::DeviceDirectory { path: plan.path.clone(), source: Box::new(source) })?;
    let Some(directory) = directory else { return Ok(()) };
    let replace = || {
        let earlier = if is_new { Vec::new() } else { bpf::device_programs(directory.as_fd(), DEVICE_PROGRAMS_MAX)? };
        let program = bpf::load_device_program(&device_program::assemble(rules))?;
        bpf::attach_device_program(directory.as_fd(), program.as_fd())?;
        earlier.into_iter().try_for_each(|id| bpf::detach_device_program(directory.as_fd(), id))
    };
    replace().map_err(|source| CreateError::DeviceProgram { path: plan.path.clone(), source })
}
