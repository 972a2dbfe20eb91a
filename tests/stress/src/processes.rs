//! Processes as /proc shows them. This program adopts orphans: whatever daemons and shims leave when they are killed is a
//! descendant of it, and reaped by it as the machine's init would.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::process::{Pid, WaitOptions, set_child_subreaper, waitpid};

/// Children that this program waits for itself.
static OWN: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// One process.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    state: char,
    pub name: String,
    /// The words of its command line; its name in brackets if it has none.
    pub command: String,
}

impl Process {
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Makes this process the parent of its descendants' orphans.
pub fn adopt_orphans() -> Result<()> {
    // Any id means "yes" (prctl(2), PR_SET_CHILD_SUBREAPER).
    Ok(set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// This child is waited for by whoever started it.
pub fn own(pid: u32) {
    OWN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(pid);
}

pub fn disown(pid: u32) {
    OWN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().remove(&pid);
}

fn is_own(pid: u32) -> bool {
    OWN.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|own| own.contains(&pid))
}

/// All processes of the machine.
pub fn all() -> Result<Vec<Process>> {
    let entries = fs::read_dir("/proc").context("reading /proc")?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // A process that ended meanwhile is none.
    Ok(pids.filter_map(read).collect())
}

fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let command = words.join(" ").trim_end().to_owned();
    let command = if command.is_empty() { format!("[{name}]") } else { command };
    Some(Process { pid, parent, state, name: name.to_owned(), command })
}

/// This process's own number in /proc, which may be that of another PID namespace.
fn self_pid() -> Result<u32> {
    let link = fs::read_link("/proc/self").context("reading /proc/self")?;
    link.to_string_lossy().parse().context("/proc/self is no number")
}

/// All descendants of this process but those it waits for itself.
pub fn descendants() -> Result<Vec<Process>> {
    let all = all()?;
    let mut children: HashMap<u32, Vec<&Process>> = HashMap::new();
    for process in &all {
        children.entry(process.parent).or_default().push(process);
    }
    let (mut found, mut waiting) = (Vec::new(), vec![self_pid()?]);
    while let Some(parent) = waiting.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            waiting.push(child.pid);
            if !is_own(child.pid) {
                found.push(Process::clone(child));
            }
        }
    }
    Ok(found)
}

/// Reaps orphans that this process has adopted.
pub fn reap_adopted() -> Result<()> {
    let own = self_pid()?;
    for process in all()?.into_iter().filter(|process| process.parent == own && process.is_dead() && !is_own(process.pid)) {
        if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
            // Not there any more, or known to this namespace by another number: then its init reaps it.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
    Ok(())
}

/// Whether the process lives.
pub fn lives(pid: u32) -> bool {
    read(pid).is_some_and(|process| !process.is_dead())
}
