//! A group that exists, and how processes get into it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cradle_domain::{Class, Classified};
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use rustix::process::Pid;

use super::create::{CreateError, create};
use super::file::{self, FileError};
use super::layout::{Hierarchy, Layout};
use super::path::{BadPath, GroupPath};
use super::plan::CgroupPlan;

/// A group in every tree of the machine. Nothing is held open: a group that is gone is seen as empty.
#[derive(Debug, Clone)]
pub struct Cgroup {
    layout: Layout,
    path: GroupPath,
    /// The group of one exec, below `path` and in the tracking tree only.
    exec: Option<GroupPath>,
}

/// What a child joins a group by, open: it takes some 30 µs to open, and can be used again and again.
#[derive(Debug)]
pub struct Entrance {
    /// For clone3's CLONE_INTO_CGROUP.
    directory: Option<OwnedFd>,
    /// Into which a child with one thread writes "0" to join the trees of v1; none on v2.
    tasks: Vec<OwnedFd>,
}

impl Entrance {
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn tasks(&self) -> &[OwnedFd] {
        &self.tasks
    }
}

/// A process could not be moved into a group.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("making the control group that the process is to be moved into")]
    Create { source: Box<CreateError> },
    #[error("moving process {pid} into a control group")]
    Move { pid: i32, source: FileError },
    #[error(
        "moving process {pid} into the control group {path}: groups below it have controllers, so it takes no process"
    )]
    InternalProcess { pid: i32, path: String },
    #[error("opening a control group for a process to join")]
    Open { source: FileError },
}

impl Classified for AttachError {
    fn class(&self) -> Class {
        match self {
            AttachError::Create { source } => source.class(),
            AttachError::InternalProcess { .. } => Class::Busy,
            AttachError::Move { source, .. } | AttachError::Open { source } => source.class(),
        }
    }
}

/// Moves a process into the group at `path`, which is made where it is missing, in every tree. The slow way, see
/// [`Cgroup::attach`].
pub fn move_process(pid: Pid, path: &str, layout: &Layout) -> Result<(), AttachError> {
    let plan = CgroupPlan { path: path.to_owned(), writes: Vec::new(), devices: None };
    let group = create(&plan, layout).map_err(|source| AttachError::Create { source: Box::new(source) })?;
    group.attach(pid)
}

impl Cgroup {
    /// The group at `path`, as `/kubepods/…`. Whether it exists is not looked at.
    pub fn open(path: &str, layout: &Layout) -> Result<Cgroup, BadPath> {
        Ok(Cgroup { layout: layout.clone(), path: GroupPath::parse(path)?, exec: None })
    }

    pub(super) fn with_exec(&self, exec: GroupPath) -> Cgroup {
        Cgroup { exec: Some(exec), ..self.clone() }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn is_exec(&self) -> bool {
        self.exec.is_some()
    }

    /// The path below the root of every tree (for an exec: of the container's group).
    pub(super) fn path(&self) -> &GroupPath {
        &self.path
    }

    /// The tree of a controller.
    pub(super) fn tree(&self, controller: &str) -> Option<&Hierarchy> {
        self.layout.with_controller(controller)
    }

    /// Where the processes of this group are in `tree`.
    pub(super) fn path_in(&self, tree: &Hierarchy) -> &str {
        match &self.exec {
            Some(exec) if self.layout.tracking().is_some_and(|tracking| std::ptr::eq(tracking, tree)) => exec.as_str(),
            _ => self.path.as_str(),
        }
    }

    pub(super) fn exists_in(&self, tree: &Hierarchy) -> bool {
        tree.root().is_ok_and(|root| statat(root, self.path_in(tree), AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// Moves another process, with all its threads, into the group: one write for each tree, of which the first may
    /// take 7 to 15 ms (see the module's introduction). For processes that cannot join by themselves.
    pub fn attach(&self, pid: Pid) -> Result<(), AttachError> {
        let number = pid.as_raw_pid();
        for tree in self.layout.hierarchies() {
            self.put(tree, "cgroup.procs", number)?;
        }
        Ok(())
    }

    /// Moves the calling thread into the group. A process with one thread moves itself so, on v1 at once.
    ///
    /// The unified tree offers no fast way in after clone3; its write is left out where the process is there already.
    pub fn join(&self) -> Result<(), AttachError> {
        for tree in self.layout.hierarchies() {
            if !tree.is_unified() {
                self.put(tree, "tasks", 0)?;
            } else if !self.is_own_unified(tree) {
                self.put(tree, "cgroup.procs", 0)?;
            }
        }
        Ok(())
    }

    /// Whether the calling process is in this group of the unified tree (cgroups(7), /proc/PID/cgroup).
    fn is_own_unified(&self, tree: &Hierarchy) -> bool {
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
        own == Some(self.path_in(tree))
    }

    fn put(&self, tree: &Hierarchy, file: &str, pid: i32) -> Result<(), AttachError> {
        let path = self.path_in(tree);
        file::write(tree, &format!("{path}/{file}"), &pid.to_string()).map_err(|source| match source.errno() {
            Errno::BUSY if tree.is_unified() => {
                AttachError::InternalProcess { pid, path: tree.full_path(path).display().to_string() }
            }
            _ => AttachError::Move { pid, source },
        })
    }

    /// What a child joins this group by: clone3 with the directory first, where there is one, and then the writes.
    pub fn entrance(&self) -> Result<Entrance, AttachError> {
        let trees = self.layout.hierarchies().iter().filter(|tree| !tree.is_unified());
        let tasks = trees.map(|tree| self.open_in(tree, "/tasks", OFlags::WRONLY)).collect::<Result<_, _>>()?;
        Ok(Entrance { directory: self.directory()?, tasks })
    }

    /// The directory for clone3's CLONE_INTO_CGROUP: in the unified tree, which v2 and hybrid machines have.
    ///
    /// The clone fails with EBUSY where groups below this one have controllers (the container runs a systemd, say);
    /// a group of [`Cgroup::exec_child`] has none below it.
    pub fn directory(&self) -> Result<Option<OwnedFd>, AttachError> {
        let Some(tree) = self.layout.unified() else { return Ok(None) };
        self.open_in(tree, "", OFlags::PATH | OFlags::DIRECTORY).map(Some)
    }

    fn open_in(&self, tree: &Hierarchy, file: &str, flags: OFlags) -> Result<OwnedFd, AttachError> {
        let path = format!("{}{file}", self.path_in(tree));
        let open = |path: &str| openat(tree.root()?, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty());
        open(&path).map_err(|source| AttachError::Open { source: FileError::new("opening", tree, &path, source) })
    }
}
