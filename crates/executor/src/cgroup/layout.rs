//! Which trees of control groups the machine has, and where they are mounted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cradle_domain::{Class, Classified};
use rustix::fs::{CWD, Mode, OFlags, openat, statfs};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Where systemd and every other init mount control groups.
const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// The controllers that a v1 tree can be mounted with; anything else in the mount options is an option.
const CONTROLLERS: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// The trees of this machine. Cheap to clone; it can be sent to another process, which opens the roots anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Layout {
    /// One tree for each controller or for a few, perhaps with one named by systemd and with a unified one that has
    /// (hardly) a controller, where a group is placed as well.
    V1 { hierarchies: Arc<[Hierarchy]> },
    /// One tree with all controllers.
    V2 { root: Arc<Hierarchy> },
}

/// One mounted tree.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hierarchy {
    mount_point: PathBuf,
    kind: Kind,
    controllers: Vec<String>,
    /// Opened at the first use and kept: every path of a group is resolved from here.
    #[serde(skip)]
    root: OnceLock<OwnedFd>,
}

/// What a tree is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// cgroup v1 with controllers.
    Controllers,
    /// cgroup v1 without controllers, as `name=systemd`.
    Named(String),
    /// cgroup v2.
    Unified,
}

/// The trees of the machine cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("reading {path}")]
    Read { path: String, source: std::io::Error },
    #[error("no control groups are mounted")]
    NotMounted,
}

impl Classified for LayoutError {
    fn class(&self) -> Class {
        Class::Unavailable
    }

    fn hint(&self) -> Option<String> {
        Some(format!("control groups, v1 or v2, must be mounted at {MOUNT_POINT}"))
    }
}

impl Hierarchy {
    fn new(mount_point: PathBuf, kind: Kind, controllers: Vec<String>) -> Self {
        Hierarchy { mount_point, kind, controllers, root: OnceLock::new() }
    }

    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The names of the controllers that can be used in this tree.
    pub fn controllers(&self) -> &[String] {
        &self.controllers
    }

    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }

    pub(super) fn is_unified(&self) -> bool {
        self.kind == Kind::Unified
    }

    /// `path`, which is relative to the root, as people would write it.
    pub(super) fn full_path(&self, path: &str) -> PathBuf {
        self.mount_point.join(path)
    }

    /// The directory at the root of the tree.
    pub(super) fn root(&self) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(root) = self.root.get() {
            return Ok(root.as_fd());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, &self.mount_point, flags, Mode::empty())?;
        // Two threads may both get here; the descriptor of the second is closed again.
        Ok(self.root.get_or_init(|| opened).as_fd())
    }
}

impl Layout {
    /// Looks at how the machine mounts its control groups.
    pub fn detect() -> Result<Layout, LayoutError> {
        // With v2 alone the answer is one system call away; the mount table of a node with many pods is long.
        if statfs(MOUNT_POINT).is_ok_and(|at| at.f_type.cast_unsigned() == CGROUP2_MAGIC) {
            return Layout::v2_at(Path::new(MOUNT_POINT));
        }
        let table = "/proc/self/mountinfo";
        let text =
            std::fs::read_to_string(table).map_err(|source| LayoutError::Read { path: table.to_owned(), source })?;
        match choose(hierarchies(&text)) {
            Some(Layout::V2 { root }) => Layout::v2_at(&root.mount_point),
            Some(layout) => Ok(layout),
            None => Err(LayoutError::NotMounted),
        }
    }

    /// The v2 tree at `root`, with the controllers that its `cgroup.controllers` names.
    pub fn v2_at(root: &Path) -> Result<Layout, LayoutError> {
        let path = root.join("cgroup.controllers");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| LayoutError::Read { path: path.display().to_string(), source })?;
        Ok(Layout::v2(root, &text.split_ascii_whitespace().collect::<Vec<_>>()))
    }

    /// A v2 tree at `root` with these controllers; nothing is looked at.
    pub fn v2(root: &Path, controllers: &[&str]) -> Layout {
        Layout::V2 { root: Arc::new(Hierarchy::new(root.to_owned(), Kind::Unified, owned(controllers))) }
    }

    /// v1 trees below `root`, one for each controller, and the one that systemd names; nothing is looked at.
    pub fn v1(root: &Path, controllers: &[&str]) -> Layout {
        let tree = |name: &&str| Hierarchy::new(root.join(name), Kind::Controllers, owned(&[name]));
        let named = Hierarchy::new(root.join("systemd"), Kind::Named("systemd".to_owned()), Vec::new());
        Layout::V1 { hierarchies: controllers.iter().map(tree).chain([named]).collect() }
    }

    pub fn is_v2(&self) -> bool {
        matches!(self, Layout::V2 { .. })
    }

    /// Whether systemd keeps the groups of this machine (sd_booted(3)): others then ask it for theirs. On v1 it keeps only
    /// a tree of its own in good order.
    pub fn is_kept_by_systemd(&self) -> bool {
        self.is_v2() && Path::new("/run/systemd/system").is_dir()
    }

    /// Every tree that a group lies in.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        match self {
            Layout::V1 { hierarchies } => hierarchies,
            Layout::V2 { root } => std::slice::from_ref(root),
        }
    }

    /// The tree of a controller.
    pub fn with_controller(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies().iter().find(|tree| tree.has(controller))
    }

    /// The tree of cgroup v2, which hybrid machines have as well.
    pub(super) fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies().iter().find(|tree| tree.is_unified())
    }

    /// The tree by which a group's processes are known, and in which an exec gets a group of its own. One without
    /// controllers, so that no accounting changes: unified, where the kernel kills a group itself, else a named one,
    /// else the freezer's, which counts nothing.
    pub(super) fn tracking(&self) -> Option<&Hierarchy> {
        let trees = self.hierarchies();
        self.unified()
            .or_else(|| trees.iter().find(|tree| matches!(tree.kind, Kind::Named(_))))
            .or_else(|| self.with_controller("freezer"))
            .or_else(|| trees.first())
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Every tree in the mount table, each once; a mount where all the world looks for it is preferred.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for tree in mountinfo.lines().filter_map(parse_mount) {
        match found.iter_mut().find(|known| known.kind == tree.kind && known.controllers == tree.controllers) {
            Some(known) if !known.mount_point.starts_with(MOUNT_POINT) && tree.mount_point.starts_with(MOUNT_POINT) => {
                *known = tree;
            }
            Some(_) => {}
            None => found.push(tree),
        }
    }
    found
}

/// A line of mountinfo (proc(5)): `id parent dev root MOUNT options … - TYPE source SUPER_OPTIONS`.
fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mount_point = PathBuf::from(mount.split(' ').nth(4)?);
    let mut fields = file_system.split(' ');
    match fields.next()? {
        "cgroup2" => Some(Hierarchy::new(mount_point, Kind::Unified, Vec::new())),
        "cgroup" => {
            let options = fields.nth(1)?;
            let controllers: Vec<&str> = options.split(',').filter(|option| CONTROLLERS.contains(option)).collect();
            let name = options.split(',').find_map(|option| option.strip_prefix("name="));
            let kind = match name {
                Some(name) if controllers.is_empty() => Kind::Named(name.to_owned()),
                _ => Kind::Controllers,
            };
            Some(Hierarchy::new(mount_point, kind, owned(&controllers)))
        }
        _ => None,
    }
}

/// v1 where a main controller is there; a lone `net_cls` beside a v2 tree (VPN clients mount it) does not make it v1.
fn choose(trees: Vec<Hierarchy>) -> Option<Layout> {
    let is_v1 = trees.iter().any(|tree| ["memory", "cpu", "pids"].iter().any(|main| tree.has(main)));
    if is_v1 {
        return Some(Layout::V1 { hierarchies: trees.into() });
    }
    let root = trees.into_iter().find(Hierarchy::is_unified)?;
    Some(Layout::V2 { root: Arc::new(root) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:1 master:2 - cgroup cgroup rw,memory
36 31 0:33 / /mnt/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn v1_with_a_unified_tree_is_v1_and_has_all_trees() {
        let layout = choose(hierarchies(HYBRID)).unwrap();
        let names: Vec<_> = layout.hierarchies().iter().map(|tree| tree.mount_point.display().to_string()).collect();
        assert_eq!(names, ["cpu,cpuacct", "memory", "systemd", "unified"].map(|name| format!("/sys/fs/cgroup/{name}")));
        assert!(!layout.is_v2());
        assert!(layout.with_controller("cpuacct").unwrap().has("cpu"));
        assert!(layout.with_controller("pids").is_none());
        assert!(layout.tracking().unwrap().is_unified());
    }

    #[test]
    fn v2_with_a_stray_v1_tree_is_v2() {
        let text =
            "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n50 31 0:9 / /x rw - cgroup net_cls rw,net_cls\n";
        assert!(choose(hierarchies(text)).unwrap().is_v2());
        assert!(choose(hierarchies("1 0 8:1 / / rw - ext4 /dev/vda rw\nnonsense\n")).is_none());
    }

    #[test]
    fn pure_v1_is_tracked_where_nothing_is_counted() {
        let text = |last: &str| {
            format!(
                "1 0 0:1 / /a rw - cgroup c rw,pids\n2 0 0:2 / /b rw - cgroup c rw,freezer\n3 0 0:3 / /c rw - {last}\n"
            )
        };
        let named = choose(hierarchies(&text("cgroup c rw,name=systemd"))).unwrap();
        assert_eq!(named.tracking().unwrap().kind(), &Kind::Named("systemd".to_owned()));
        let bare = choose(hierarchies(&text("tmpfs t rw"))).unwrap();
        assert!(bare.tracking().unwrap().has("freezer"));
    }

    #[test]
    fn a_layout_travels_to_another_process() {
        let layout = choose(hierarchies(HYBRID)).unwrap();
        let bytes = postcard::to_allocvec(&layout).unwrap();
        let copy: Layout = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(format!("{:?}", copy.hierarchies()), format!("{:?}", layout.hierarchies()));
    }
}
