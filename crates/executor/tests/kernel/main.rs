//! The executor against the kernel: real namespaces, mounts and processes, as root.
//!
//! This is no libtest harness: clone and setns need a process with one thread, so each test runs in a copy of this
//! process that ends with it. After each, nothing of it may be left on the machine.

mod containers;
mod escapes;
mod execs;
mod failures;
mod pods;
mod speed;
mod user_namespaces;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use cradle_sys::SingleThreaded;
use cradle_sys::process::{self, Cloned, NewNamespaces};
use rustix::process::{WaitOptions, waitpid};

/// A test that takes longer has hung.
const TEST_DEADLINE: Duration = Duration::from_secs(60);

type Test = (&'static str, fn());

/// `tests![module: name, …]`: the functions with their names.
#[macro_export]
macro_rules! tests {
    ($module:ident: $($name:ident),* $(,)?) => { &[$((concat!(stringify!($module), "::", stringify!($name)), $name as fn())),*] };
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with('-')).collect();
    let all = [
        containers::TESTS,
        execs::TESTS,
        failures::TESTS,
        escapes::TESTS,
        pods::TESTS,
        user_namespaces::TESTS,
        speed::TESTS,
    ];
    let chosen = all.iter().flat_map(|tests| tests.iter());
    let chosen: Vec<&Test> =
        chosen.filter(|(name, _)| filter.is_empty() || filter.iter().any(|part| name.contains(part))).collect();
    if !rustix::process::geteuid().is_root() {
        println!("kernel: {} tests skipped: they need root", chosen.len());
        let required = std::env::var("TEST_REQUIRE").is_ok_and(|list| list.split(',').any(|need| need == "root"));
        std::process::exit(i32::from(required));
    }
    // What a test leaves behind becomes a child of this process, and is seen.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let failed: Vec<&str> = chosen.iter().filter(|test| !passes(test)).map(|(name, _)| *name).collect();
    println!("kernel: {} passed, {} failed", chosen.len() - failed.len(), failed.len());
    for name in &failed {
        println!("    {name}");
    }
    std::process::exit(i32::from(!failed.is_empty()));
}

fn passes((name, test): &Test) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let began = Instant::now();
    let single = SingleThreaded::check().expect("the harness has one thread");
    let pid = match process::clone(NewNamespaces::default(), None, &single).unwrap() {
        Cloned::Parent { pid, .. } => rustix::process::Pid::from_raw(pid).unwrap(),
        Cloned::Child => {
            let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
            process::exit(i32::from(!passed));
        }
    };
    let status = loop {
        if let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG).unwrap() {
            break status.exit_status();
        }
        if began.elapsed() > TEST_DEADLINE {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            waitpid(Some(pid), WaitOptions::empty()).unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let left = left_behind(&mounts, pid.as_raw_pid());
    let passed = status == Some(0) && left.is_empty();
    println!("{} {name} ({} ms)", if passed { "ok    " } else { "FAILED" }, began.elapsed().as_millis());
    for thing in left {
        println!("       left behind: {thing}");
    }
    passed
}

/// Processes, mounts and control groups that were not there before the test.
fn left_behind(mounts: &str, test: i32) -> Vec<String> {
    let mut left = Vec::new();
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        left.push(format!("dead process {pid:?}, {status:?}"));
    }
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    left.extend(children.split_whitespace().map(|pid| format!("process {pid}")));
    let now = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(now.lines().filter(|line| !mounts.contains(line)).map(|line| format!("mount {line}")));
    let trees = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let groups = trees.map(|tree| tree.join(world::group_name(test).trim_start_matches('/')));
    left.extend(groups.filter(|group| group.exists()).map(|group| format!("group {}", group.display())));
    left
}
