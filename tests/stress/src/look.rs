//! A look at the machine: one line for each thing of a node that could be left by a pod. What is there before and after
//! must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::node::Node;
use crate::processes;
use crate::until::until;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Where the shims are; stays when they are gone.
const SHIMS: &str = "shims";

/// How many of the things that are left are told.
const TOLD: usize = 12;

/// What of a node is on the machine.
#[derive(Debug, Clone)]
pub struct Look {
    things: BTreeSet<String>,
    /// The daemon's descriptors by kind; none if it does not run.
    descriptors: Option<BTreeMap<String, usize>>,
}

impl Look {
    pub fn take(node: &Node) -> Result<Self> {
        processes::reap_adopted()?;
        let mut things = BTreeSet::new();
        things.extend(mounts(node.folder())?);
        things.extend(cgroups(node.name()));
        things.extend(links(node.name()));
        things.extend(tables(node.name())?);
        things.extend(files(&node.state(), &["boot", "cradled.lock", "shims.log", "damaged"], 0));
        things.extend(files(&node.root(), &["cradled.lock", "store.redb"], 2));
        // Last: what ended meanwhile is not there.
        for process in processes::descendants()? {
            let kind = if process.is_dead() { "dead process" } else { "process" };
            things.insert(format!("{kind} {} {}", process.pid, process.command));
        }
        let descriptors = node.pid().ok().map(descriptors).transpose()?;
        Ok(Look { things, descriptors })
    }

    /// The same things, with the descriptors that the daemon has now.
    pub fn with_descriptors_of(self, node: &Node) -> Result<Self> {
        Ok(Look { descriptors: Some(descriptors(node.pid()?)?), ..self })
    }

    /// What is here and was not there before.
    pub fn since(&self, before: &Look) -> Vec<String> {
        let mut left: Vec<String> = self.things.difference(&before.things).cloned().collect();
        if let (Some(now), Some(before)) = (&self.descriptors, &before.descriptors) {
            left.extend(now.iter().filter_map(|(kind, count)| {
                let had = before.get(kind).copied().unwrap_or_default();
                (*count > had).then(|| format!("{} more descriptors of the daemon: {kind}", count - had))
            }));
        }
        left
    }
}

/// Waits until nothing is there that was not there before.
pub async fn unchanged(node: &Node, before: &Look, within: Duration) -> Result<()> {
    until(within, "the machine as it was", async || {
        let left = Look::take(node)?.since(before);
        let shown: Vec<_> = left.iter().take(TOLD).cloned().collect();
        ensure!(left.is_empty(), "{} things are left: {}", left.len(), shown.join("; "));
        Ok(())
    })
    .await
}

/// Mounts on or from the node's folder.
fn mounts(folder: &Path) -> Result<Vec<String>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    let folder = format!("{}/", folder.display());
    Ok(mounts.lines().filter(|line| line.contains(&folder)).map(|line| format!("mount {line}")).collect())
}

/// The roots of all control group hierarchies, and the folders in them: one hierarchy is mounted there, or many below.
fn hierarchies() -> Vec<PathBuf> {
    let entries = fs::read_dir(CGROUPS).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
    std::iter::once(PathBuf::from(CGROUPS)).chain(below).collect()
}

fn cgroups(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        let root = hierarchy.join(name);
        let mut groups = Vec::new();
        folders(&root, &mut groups);
        groups.retain(|group| *group != root && *group != root.join(SHIMS));
        found.extend(groups.into_iter().map(|group| format!("cgroup {}", group.display())));
    }
    found
}

/// The folder and all below it, the deepest first.
fn folders(path: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        folders(&entry.path(), found);
    }
    found.push(path.to_owned());
}

/// Removes the bridge and the tables of a node that is gone; what of them was left too long has been told.
pub fn remove_network(name: &str) {
    for table in tables(name).unwrap_or_default() {
        let words = table.split(' ').skip(2);
        let _ = Command::new("nft").args(["delete", "table"]).args(words).status();
    }
    if Path::new("/sys/class/net").join(name).exists() {
        let _ = Command::new("ip").args(["link", "delete", name]).status();
    }
}

/// Removes the control groups of a node that is gone.
pub fn remove_cgroups(name: &str) {
    for hierarchy in hierarchies() {
        let mut groups = Vec::new();
        folders(&hierarchy.join(name), &mut groups);
        for group in groups {
            // One that is not empty has been told as left.
            let _ = fs::remove_dir(group);
        }
    }
}

/// The bridge, its ports, and ports that no bridge has any more.
fn links(bridge: &str) -> Vec<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_port = |name: &str| {
        name.strip_prefix("cr").is_some_and(|id| id.len() == 13 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let ours = |name: &String| {
        let master = fs::read_link(format!("/sys/class/net/{name}/master"));
        let master = master.ok().and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
        name == bridge || master.as_deref() == Some(bridge) || (is_port(name) && master.is_none())
    };
    names.filter(ours).map(|name| format!("link {name}")).collect()
}

/// nf_tables tables that belong to the bridge.
fn tables(bridge: &str) -> Result<Vec<String>> {
    let output = Command::new("nft").args(["list", "tables"]).output().context("running nft")?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(listed.lines().filter(|line| line.contains(bridge)).map(|line| format!("nft {line}")).collect())
}

/// Files and folders in `folder` but those named, down to `depth`.
fn files(folder: &Path, but: &[&str], depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if but.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        found.push(format!("file {}", entry.path().display()));
        // Each pod has a folder of its own in the first level of the state's only folder.
        if depth > 0 || entry.file_name() == "pods" {
            found.extend(files(&entry.path(), &[], depth.saturating_sub(1)));
        }
    }
    found
}

/// The descriptors of a process, counted by what they lead to.
pub fn descriptors(pid: u32) -> Result<BTreeMap<String, usize>> {
    let mut kinds = BTreeMap::new();
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).context("reading the daemon's descriptors")?;
    for entry in entries.flatten() {
        // One that was closed meanwhile is none.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        let kind = match target.split_once(":[") {
            Some((kind, _)) => kind.to_owned(),
            None => target,
        };
        *kinds.entry(kind).or_default() += 1;
    }
    Ok(kinds)
}
