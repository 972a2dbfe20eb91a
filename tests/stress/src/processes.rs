//! Processes as /proc shows them. This program adopts orphans: whatever daemons and shims leave when they are killed is a
//! descendant of it, and reaped by it as the machine's init would.
//!
//! In a PID namespace whose /proc is that of the machine, a process has two numbers: one there, one for system calls.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};

/// Children that this program waits for itself.
static OWN: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// One process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number in /proc.
    pub pid: u32,
    /// Its number for this process's system calls.
    number: u32,
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
    let number = if in_namespace() { *numbers(&pid.to_string())?.get(depth() - 1)? } else { pid };
    Some(Process { pid, number, parent, state, name: name.to_owned(), command })
}

/// A process's numbers in the namespaces from that of /proc to its own (proc_pid_status(5), NSpid).
fn numbers(process: &str) -> Option<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect())
}

/// How many PID namespaces this process is in, from that of /proc on.
fn depth() -> usize {
    static DEPTH: OnceLock<usize> = OnceLock::new();
    *DEPTH.get_or_init(|| numbers("self").map_or(1, |numbers| numbers.len().max(1)))
}

fn in_namespace() -> bool {
    depth() > 1
}

/// The number in /proc of a child of this process.
pub fn child(number: u32) -> Result<u32> {
    if !in_namespace() {
        return Ok(number);
    }
    let own = self_pid()?;
    let found = all()?.into_iter().find(|process| process.parent == own && process.number == number);
    Ok(found.with_context(|| format!("there is no child {number}"))?.pid)
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
            if !is_own(child.number) {
                found.push(Process::clone(child));
            }
        }
    }
    Ok(found)
}

/// Reaps orphans that this process has adopted.
pub fn reap_adopted() -> Result<()> {
    let own = self_pid()?;
    for process in all()?.into_iter().filter(|process| process.parent == own && process.is_dead()) {
        if let Some(pid) =
            i32::try_from(process.number).ok().and_then(Pid::from_raw).filter(|_| !is_own(process.number))
        {
            // It may have been reaped meanwhile.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
    Ok(())
}

/// Sends a signal to a process.
pub fn signal(process: u32, signal: Signal) -> Result<()> {
    let process = read(process).with_context(|| format!("there is no process {process}"))?;
    let number = i32::try_from(process.number).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(number, signal).with_context(|| format!("signalling {}", process.command))
}

/// Whether the process lives.
pub fn lives(pid: u32) -> bool {
    read(pid).is_some_and(|process| !process.is_dead())
}
