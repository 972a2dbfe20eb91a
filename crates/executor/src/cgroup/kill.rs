//! The processes of a group and of the groups below it: listing, signalling, killing.

use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use cradle_domain::{Class, Classified};
use rustix::fs::{FileType, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::file::{self, FileError};
use super::group::Cgroup;
use super::layout::Hierarchy;
use super::limits::{KILL_PASSES_MAX, SUBTREE_DEPTH_MAX};

/// The processes of a group could not be listed or killed.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    #[error("looking for the processes of a control group")]
    List { source: FileError },
    #[error("signalling process {pid} of a control group")]
    Signal { pid: i32, source: Errno },
    #[error("killing the processes of a control group")]
    File { source: FileError },
    #[error("killing the processes of {path}: new ones appear faster than they can be killed")]
    Growing { path: String },
}

impl Classified for KillError {
    fn class(&self) -> Class {
        match self {
            KillError::List { source } | KillError::File { source } => source.class(),
            KillError::Signal { .. } => Class::Denied,
            KillError::Growing { .. } => Class::Busy,
        }
    }
}

/// The group at `path` and all below it, each after the one that it lies in.
pub(super) fn subtree(tree: &Hierarchy, path: &str) -> Result<Vec<String>, FileError> {
    let mut found = vec![(path.to_owned(), 0)];
    let mut next = 0;
    while let Some((group, depth)) = found.get(next).cloned() {
        next += 1;
        if depth < SUBTREE_DEPTH_MAX {
            let below = children(tree, &group).map_err(|source| FileError::new("listing", tree, &group, source))?;
            found.extend(below.into_iter().map(|name| (format!("{group}/{name}"), depth + 1)));
        }
    }
    Ok(found.into_iter().map(|(group, _)| group).collect())
}

fn children(tree: &Hierarchy, path: &str) -> Result<Vec<String>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let directory = match openat(tree.root()?, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = match entry {
            // The group was removed meanwhile.
            Err(Errno::NOENT | Errno::NODEV) => break,
            entry => entry?,
        };
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            names.push(String::from_utf8(name.to_vec()).map_err(|_| Errno::ILSEQ)?);
        }
    }
    Ok(names)
}

/// The processes in the groups of one tree; a group that has gone or has only threads of others counts as empty.
fn processes_in(tree: &Hierarchy, path: &str) -> Result<HashSet<Pid>, KillError> {
    let mut found = HashSet::new();
    for group in subtree(tree, path).map_err(|source| KillError::List { source })? {
        match file::read_if_there(tree, &format!("{group}/cgroup.procs")) {
            Ok(text) => {
                // A process outside the reader's PID namespace is shown as 0.
                let pids = text.iter().flat_map(|text| text.lines()).filter_map(|line| line.trim().parse().ok());
                found.extend(pids.filter_map(Pid::from_raw));
            }
            Err(error) if error.errno() == Errno::OPNOTSUPP => {}
            Err(source) => return Err(KillError::List { source }),
        }
    }
    Ok(found)
}

fn signal(pid: Pid, signal: Signal) -> Result<(), KillError> {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(KillError::Signal { pid: pid.as_raw_pid(), source }),
    }
}

impl Cgroup {
    /// The trees in which this group's own processes are looked for: one is enough, but on hybrid machines a process
    /// may have been put into the trees of v1 only.
    fn process_trees(&self) -> impl Iterator<Item = &Hierarchy> {
        let tracking = self.layout().tracking();
        let is_hybrid = !self.layout().is_v2() && tracking.is_some_and(Hierarchy::is_unified);
        let mut others = self.layout().hierarchies().iter().filter(|tree| !tree.is_unified());
        tracking.into_iter().chain(others.next().filter(|_| is_hybrid && !self.is_exec()))
    }

    /// The processes of the group and of all groups below it, in the caller's PID namespace.
    pub fn processes(&self) -> Result<Vec<Pid>, KillError> {
        let mut all = HashSet::new();
        for tree in self.process_trees() {
            all.extend(processes_in(tree, self.path_in(tree))?);
        }
        Ok(all.into_iter().collect())
    }

    /// Whether no process is left in the group and below it. A process that is dead but not reaped does not count.
    pub fn is_empty(&self) -> Result<bool, KillError> {
        for tree in self.process_trees() {
            let path = self.path_in(tree);
            let events = if tree.is_unified() {
                file::read_if_there(tree, &format!("{path}/cgroup.events"))
                    .map_err(|source| KillError::List { source })?
            } else {
                None
            };
            let is_empty = match events {
                Some(text) => file::keyed(&text, "populated") == Some(0),
                None => processes_in(tree, path)?.is_empty(),
            };
            if !is_empty {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A descriptor that is ready, with POLLPRI, whenever the group has become empty or is so no more. None: the group is
    /// gone, or nothing tells (cgroup v1 alone).
    pub fn watch(&self) -> Result<Option<OwnedFd>, KillError> {
        let Some(tree) = self.process_trees().find(|tree| tree.is_unified()) else { return Ok(None) };
        let path = format!("{}/cgroup.events", self.path_in(tree));
        // Changes are told from the first reading on.
        let opened = file::open(tree, &path).and_then(|events| file::read_all(&events).map(|_| events));
        match opened {
            Ok(events) => Ok(Some(events)),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(errno) => Err(KillError::List { source: FileError::new("watching", tree, &path, errno) }),
        }
    }

    /// Sends a signal to every process that is in the group now.
    pub fn signal_all(&self, number: Signal) -> Result<(), KillError> {
        self.processes()?.into_iter().try_for_each(|pid| signal(pid, number))
    }

    /// Sends SIGKILL to everything in the group and below it, also to what is frozen or forks meanwhile. It does not
    /// wait for the deaths: a process in an uninterruptible sleep dies when it wakes up.
    pub fn kill(&self) -> Result<(), KillError> {
        let unified = self.process_trees().find(|tree| tree.is_unified());
        let by_kernel = match unified {
            Some(tree) => kill_by_kernel(tree, self.path_in(tree))?,
            None => false,
        };
        for tree in self.process_trees() {
            if !(by_kernel && tree.is_unified()) {
                self.kill_one_by_one(tree)?;
            }
        }
        self.thaw()
    }

    /// Without cgroup.kill: passes over the processes until one finds none that the pass before did not kill. A process
    /// with a pending SIGKILL cannot fork, so what such a pass leaves are only the dying.
    fn kill_one_by_one(&self, tree: &Hierarchy) -> Result<(), KillError> {
        let path = self.path_in(tree);
        let mut killed = HashSet::new();
        for pass in 0..KILL_PASSES_MAX {
            let found = processes_in(tree, path)?;
            found.iter().try_for_each(|pid| signal(*pid, Signal::KILL))?;
            if found.is_subset(&killed) {
                return Ok(());
            }
            killed = found;
            if pass == 1 {
                self.stop_forks();
            }
        }
        Err(KillError::Growing { path: tree.full_path(path).display().to_string() })
    }

    /// Something in the group forks as fast as it is killed; with no task allowed it cannot.
    fn stop_forks(&self) {
        if let Some(tree) = self.tree("pids").filter(|_| !self.is_exec()) {
            // Without effect where it fails; the bound on passes then ends the killing.
            let _ = file::write(tree, &format!("{}/pids.max", self.path_in(tree)), "0");
        }
    }

    /// cgroup v1 delivers no signal to a frozen process, not even SIGKILL.
    fn thaw(&self) -> Result<(), KillError> {
        let Some(tree) = self.tree("freezer").filter(|tree| !tree.is_unified() && !self.is_exec()) else {
            return Ok(());
        };
        let failed = |source| KillError::File { source };
        for group in subtree(tree, self.path_in(tree)).map_err(failed)? {
            let path = format!("{group}/freezer.state");
            let state = file::read_if_there(tree, &path).map_err(failed)?;
            if state.is_some_and(|state| state.trim() != "THAWED") {
                file::write(tree, &path, "THAWED").map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Since Linux 5.14 the kernel kills a group, whole and frozen or not. False: it does not know how, or the group is gone.
fn kill_by_kernel(tree: &Hierarchy, path: &str) -> Result<bool, KillError> {
    match file::write(tree, &format!("{path}/cgroup.kill"), "1") {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(false),
        Err(source) => Err(KillError::File { source }),
    }
}
