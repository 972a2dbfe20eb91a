//! Groups of this machine, v1, hybrid or v2: needs root. Every test has groups of its own and leaves none behind.

use std::fmt::Write as _;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::super::*;

/// A group of one test, killed and removed at its end.
pub(super) struct TestGroup {
    pub(super) group: Cgroup,
    pub(super) layout: Layout,
    pub(super) path: String,
    children: Vec<Child>,
    /// Through which the children join; they open them by number, so these must not be used again meanwhile.
    entrances: Vec<Entrance>,
}

impl Drop for TestGroup {
    fn drop(&mut self) {
        let killed = self.group.kill();
        for child in &mut self.children {
            // Most are dead by now; one that never joined is not.
            let _ = child.kill();
            let _ = child.wait();
        }
        let removed = wait_for(|| self.group.is_empty().unwrap_or(false)).then(|| self.group.remove());
        let is_clean = killed.is_ok() && matches!(removed, Some(Ok(())));
        // A second panic would end all tests and leave their groups behind.
        assert!(is_clean || std::thread::panicking(), "{}: {killed:?}, {removed:?}", self.path);
    }
}

/// None, and a line that says so, where the test cannot run.
pub(super) fn root_layout(test: &str) -> Option<Layout> {
    if rustix::process::geteuid().is_root()
        && let Ok(layout) = Layout::detect()
    {
        return Some(layout);
    }
    assert!(!std::env::var("TEST_REQUIRE").is_ok_and(|needs| needs.contains("root")), "{test} needs root");
    eprintln!("skipped: {test} needs root and control groups");
    None
}

pub(super) fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    assert!(wait_for(holds), "not within 10 s: {what}");
}

fn wait_for(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

pub(super) fn path(test: &str) -> String {
    format!("/cradle-test-{}-{test}", std::process::id())
}

pub(super) fn plan_for(path: &str, layout: &Layout, resources: Value) -> CgroupPlan {
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    plan(path, Some(&resources), layout).unwrap()
}

impl TestGroup {
    pub(super) fn new(test: &str, layout: &Layout, resources: Value) -> TestGroup {
        let path = path(test);
        let group = create(&plan_for(&path, layout, resources), layout).unwrap();
        TestGroup { group, layout: layout.clone(), path, children: Vec::new(), entrances: Vec::new() }
    }

    /// A group that is there already.
    pub(super) fn of(group: Cgroup, layout: &Layout) -> TestGroup {
        let path = format!("/{}", group.path().as_str());
        TestGroup { group, layout: layout.clone(), path, children: Vec::new(), entrances: Vec::new() }
    }

    /// Starts a shell that joins `group` as a child of clone3 does and then runs `script`.
    #[expect(clippy::disallowed_methods, reason = "a test starts a shell of its own")]
    pub(super) fn start_in(&mut self, group: &Cgroup, script: &str) -> Pid {
        let entrance = group.entrance().unwrap();
        let mut joined = entrance.tasks().iter().fold(String::new(), |mut text, file| {
            let _ = writeln!(text, "echo 0 >/proc/{}/fd/{} || exit 99", std::process::id(), file.as_raw_fd());
            text
        });
        if let Some(tree) = self.layout.unified() {
            let procs = tree.full_path(group.path_in(tree)).join("cgroup.procs");
            let _ = writeln!(joined, "echo 0 >{} || exit 98", procs.display());
        }
        let child = Command::new("sh")
            .args(["-c", &format!("{joined}{script}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        self.children.push(child);
        self.entrances.push(entrance);
        pid
    }

    pub(super) fn start(&mut self, script: &str) -> Pid {
        let group = self.group.clone();
        let pid = self.start_in(&group, script);
        let line = pid.as_raw_pid().to_string();
        let is_in = |tree: &Hierarchy| {
            let procs = tree.full_path(group.path_in(tree)).join("cgroup.procs");
            std::fs::read_to_string(procs).unwrap().lines().any(|found| found == line)
        };
        wait_until("the process is in its group in every tree", || self.layout.hierarchies().iter().all(is_in));
        pid
    }

    /// What the shell of `script` returns, run in the group.
    pub(super) fn run(&mut self, script: &str) -> i32 {
        let group = self.group.clone();
        self.start_in(&group, script);
        self.children.pop().unwrap().wait().unwrap().code().unwrap_or(-1)
    }

    fn read(&self, controller: &str, file: &str) -> String {
        let tree = self.layout.with_controller(controller).unwrap();
        std::fs::read_to_string(tree.full_path(&self.path[1..]).join(file)).unwrap().trim().to_owned()
    }
}

fn trees_with(layout: &Layout, path: &str) -> usize {
    layout.hierarchies().iter().filter(|tree| tree.full_path(&path[1..]).exists()).count()
}

#[test]
fn a_group_is_made_in_every_tree_and_removed_from_all() {
    let Some(layout) = root_layout("a_group_is_made_in_every_tree") else { return };
    let path = format!("{}/b/c", path("made"));
    let group = create(&plan_for(&path, &layout, json!({"pids": {"limit": 7}})), &layout).unwrap();
    assert_eq!(trees_with(&layout, &path), layout.hierarchies().len());
    assert!(group.is_empty().unwrap());
    group.remove().unwrap();
    group.remove().unwrap();
    assert_eq!(trees_with(&layout, &path), 0);
    // The groups above it are somebody else's: they stay until they are removed by name.
    let above = Cgroup::open(&super::real::path("made"), &layout).unwrap();
    assert_eq!(trees_with(&layout, &super::real::path("made")), layout.hierarchies().len());
    above.remove().unwrap();
    assert_eq!(trees_with(&layout, &super::real::path("made")), 0);
}

#[test]
fn a_group_that_cannot_be_limited_leaves_nothing_behind() {
    let Some(layout) = root_layout("a_group_that_cannot_be_limited") else { return };
    let path = format!("{}/inner", path("undone"));
    let error = create(&plan_for(&path, &layout, json!({"cpu": {"cpus": "4000"}})), &layout).unwrap_err();
    let text = cradle_domain::failure::Chain(&error).to_string();
    assert!(text.contains("cpuset.cpus") && text.contains("4000"), "{text}");
    assert_eq!(trees_with(&layout, &super::real::path("undone")), 0);
}

#[test]
fn limits_are_applied_and_changed_all_or_none() {
    let Some(layout) = root_layout("limits_are_applied") else { return };
    let first = json!({"pids": {"limit": 7}, "cpu": {"shares": 512, "quota": 50000, "period": 100_000},
                       "memory": {"limit": 64 << 20, "swap": 64 << 20}});
    let mut test = TestGroup::new("limits", &layout, first);
    test.start("exec sleep 1000");
    let memory = if layout.is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
    let limits = |test: &TestGroup| (test.read("pids", "pids.max"), test.read("memory", memory));
    assert_eq!(limits(&test), ("7".to_owned(), (64_u64 << 20).to_string()));
    // Up and down again: on v1 the order of the two memory limits is another one each time.
    for size in [128_u64, 32] {
        let bytes = size << 20;
        let new = json!({"pids": {"limit": size}, "memory": {"limit": bytes, "swap": bytes}});
        test.group.update(&plan_for(&test.path, &layout, new)).unwrap();
        assert_eq!(limits(&test), (size.to_string(), bytes.to_string()));
    }
    let bad = json!({"pids": {"limit": 99}, "memory": {"limit": 256 << 20, "swap": 256 << 20}});
    let mut bad = plan_for(&test.path, &layout, bad);
    bad.writes.push(Write {
        controller: "pids".into(),
        file: "pids.max".into(),
        value: "many".to_owned(),
        if_missing: IfMissing::Fail,
    });
    let error = test.group.update(&bad).unwrap_err();
    assert!(matches!(error, UpdateError::Limit { .. }), "{error:?}");
    assert_eq!(limits(&test), ("32".to_owned(), (32_u64 << 20).to_string()));
}

#[test]
fn a_memory_limit_below_the_usage_is_refused_with_both_numbers() {
    let Some(layout) = root_layout("a_memory_limit_below_the_usage") else { return };
    let size = 96 << 20;
    let mut test = TestGroup::new("usage", &layout, json!({"memory": {"limit": size, "swap": size}}));
    test.start("x=$(head -c 20000000 /dev/zero | tr '\\0' a); sleep 1000");
    wait_until("20 MB are used", || test.group.stats().unwrap().memory.unwrap().rss_bytes > 20_000_000);
    let below = json!({"memory": {"limit": 4 << 20, "swap": 4 << 20}});
    let error = test.group.update(&plan_for(&test.path, &layout, below)).unwrap_err();
    let text = cradle_domain::failure::Chain(&error).to_string();
    assert!(text.contains("4194304") && text.contains("the group uses"), "{text}");
    assert_eq!(test.group.oom_kills().unwrap(), 0);
    assert_eq!(test.group.stats().unwrap().memory.unwrap().limit_bytes, Some(size));
}

#[test]
fn a_process_killed_for_want_of_memory_is_counted() {
    let Some(layout) = root_layout("a_process_killed_for_want_of_memory") else { return };
    let size = 16 << 20;
    let mut test = TestGroup::new("oom", &layout, json!({"memory": {"limit": size, "swap": size}}));
    assert_eq!(test.group.oom_kills().unwrap(), 0);
    test.run("tail /dev/zero");
    assert!(test.group.oom_kills().unwrap() >= 1);
}

#[test]
fn what_a_group_uses_is_read_in_every_part() {
    let Some(layout) = root_layout("what_a_group_uses") else { return };
    let mut test = TestGroup::new("stats", &layout, json!({"pids": {"limit": 50}}));
    assert_eq!(test.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"), 0);
    test.start("exec sleep 1000");
    // The kernel brings small numbers up to date every two seconds only.
    wait_until("page faults are counted", || test.group.stats().unwrap().memory.unwrap().page_faults > 0);
    let stats = test.group.stats().unwrap();
    assert!(stats.cpu.unwrap().usage_ns > 1_000_000, "{stats:?}");
    assert_eq!(stats.pids.unwrap().limit, Some(50));
    assert!(stats.pids.unwrap().current >= 1, "{stats:?}");
    let memory = stats.memory.unwrap();
    assert!(memory.usage_bytes >= memory.working_set_bytes, "{stats:?}");
    assert_eq!(memory.limit_bytes, None);
    let gone = Cgroup::open(&path("never"), &layout).unwrap();
    assert!(matches!(gone.stats(), Err(StatsError::Gone { .. })));
    assert_eq!(gone.oom_kills().unwrap(), 0);
}

#[test]
fn killing_reaches_children_of_children_and_what_forks() {
    let Some(layout) = root_layout("killing_reaches_children") else { return };
    let mut test = TestGroup::new("kill", &layout, json!({"pids": {"limit": 60}}));
    test.start("(sleep 1000 & setsid sleep 1000 &) ; while :; do (sleep 0.01 &) 2>/dev/null; done");
    wait_until("many processes are there", || test.group.processes().unwrap().len() > 5);
    test.group.kill().unwrap();
    wait_until("all are dead", || test.group.is_empty().unwrap());
    assert_eq!(test.group.processes().unwrap(), []);
}

#[test]
fn a_watched_group_tells_when_its_last_process_is_dead() {
    let Some(layout) = root_layout("a_watched_group_tells") else { return };
    let mut test = TestGroup::new("watch", &layout, json!({}));
    test.start("sleep 1000 & wait");
    let Some(watch) = test.group.watch().unwrap() else {
        assert!(layout.unified().is_none());
        return;
    };
    let is_told_within = |seconds: i64| {
        let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
        poll(&mut [PollFd::new(&watch, PollFlags::PRI)], Some(&timeout)).unwrap() == 1
    };
    assert!(!is_told_within(0));
    test.group.kill().unwrap();
    assert!(is_told_within(10));
    wait_until("it is empty", || test.group.is_empty().unwrap());
}

#[test]
fn killing_reaches_what_is_frozen() {
    let Some(layout) = root_layout("killing_reaches_what_is_frozen") else { return };
    let mut test = TestGroup::new("frozen", &layout, json!({}));
    test.start("exec sleep 1000");
    let (tree, file, frozen) = match layout.with_controller("freezer") {
        Some(tree) => (tree, "freezer.state", "FROZEN"),
        None => (layout.unified().unwrap(), "cgroup.freeze", "1"),
    };
    let file = tree.full_path(&test.path[1..]).join(file);
    std::fs::write(&file, frozen).unwrap();
    wait_until("it is frozen", || std::fs::read_to_string(&file).unwrap().trim() == frozen);
    test.group.kill().unwrap();
    wait_until("it is dead", || test.group.is_empty().unwrap());
}

/// The v1 trees of this machine as if it had no unified one.
fn pure_v1(test: &str) -> Option<Layout> {
    let layout = root_layout(test)?;
    let names: Vec<&str> = layout.hierarchies().iter().flat_map(Hierarchy::controllers).map(String::as_str).collect();
    let pure = Layout::v1(Path::new("/sys/fs/cgroup"), &names);
    let is_mounted = |tree: &Hierarchy| tree.mount_point().join("tasks").exists();
    if layout.is_v2() || !pure.hierarchies().iter().all(is_mounted) {
        eprintln!("skipped: {test} needs v1 with a tree for each controller and one for systemd");
        return None;
    }
    Some(pure)
}

#[test]
fn without_a_unified_tree_what_forks_is_killed_in_passes_and_an_exec_alone() {
    let Some(layout) = pure_v1("without_a_unified_tree") else { return };
    let mut test = TestGroup::new("pure", &layout, json!({"pids": {"limit": 60}}));
    assert!(test.group.directory().unwrap().is_none());
    assert!(test.group.watch().unwrap().is_none());
    let main = test.start("exec sleep 1000");
    let exec = test.group.exec_child("exec-1").unwrap().cgroup;
    test.start_in(&exec, "while :; do (sleep 0.01 &) 2>/dev/null; done");
    wait_until("the exec has many processes", || exec.processes().unwrap().len() > 5);
    exec.kill().unwrap();
    wait_until("the exec is dead", || exec.is_empty().unwrap());
    exec.remove().unwrap();
    assert_eq!(test.group.processes().unwrap(), [main]);
    test.start_in(&test.group.clone(), "while :; do (sleep 0.01 &) 2>/dev/null; done");
    wait_until("the group has many processes", || test.group.processes().unwrap().len() > 5);
    test.group.kill().unwrap();
    wait_until("all are dead", || test.group.is_empty().unwrap());
}

#[test]
fn signals_reach_every_process() {
    let Some(layout) = root_layout("signals_reach_every_process") else { return };
    let mut test = TestGroup::new("signal", &layout, json!({}));
    test.start("sleep 1000 & exec sleep 1000");
    // What is only being forked while the others are signalled is not reached.
    wait_until("both processes are there", || test.group.processes().unwrap().len() == 2);
    test.group.signal_all(Signal::TERM).unwrap();
    wait_until("all have ended", || test.group.is_empty().unwrap());
}

#[test]
fn an_exec_is_killed_alone_and_charged_to_its_container() {
    let Some(layout) = root_layout("an_exec_is_killed_alone") else { return };
    let mut test = TestGroup::new("exec", &layout, json!({"pids": {"limit": 50}}));
    let main = test.start("exec sleep 1000");
    let exec = test.group.exec_child("exec-1").unwrap().cgroup;
    assert!(matches!(test.group.exec_child("exec-1"), Err(ExecChildError::Directory { .. })));
    let tool = test.start_in(&exec, "(sleep 1000 &); exec sleep 1000");
    wait_until("both processes of the exec are there", || exec.processes().unwrap().len() == 2);
    assert!(test.group.processes().unwrap().contains(&tool));
    assert!(!exec.processes().unwrap().contains(&main));
    assert!(test.group.stats().unwrap().pids.unwrap().current >= 3);
    exec.kill().unwrap();
    wait_until("the exec is dead", || exec.is_empty().unwrap());
    exec.remove().unwrap();
    assert_eq!(test.group.processes().unwrap(), [main]);
}

#[test]
fn a_group_with_processes_is_not_removed() {
    let Some(layout) = root_layout("a_group_with_processes") else { return };
    let mut test = TestGroup::new("busy", &layout, json!({}));
    test.start("exec sleep 1000");
    let error = test.group.remove().unwrap_err();
    assert_eq!(cradle_domain::Classified::class(&error), cradle_domain::Class::Busy);
    assert_eq!(trees_with(&layout, &test.path), layout.hierarchies().len());
}

#[test]
fn another_process_is_moved_into_a_group_of_its_own() {
    let Some(layout) = root_layout("another_process_is_moved") else { return };
    let mut test = TestGroup::new("moved-from", &layout, json!({}));
    let pid = test.start("exec sleep 1000");
    let target = path("moved-to");
    move_process(pid, &target, &layout).unwrap();
    let moved = Cgroup::open(&target, &layout).unwrap();
    assert_eq!(moved.processes().unwrap(), [pid]);
    assert!(test.group.is_empty().unwrap());
    moved.kill().unwrap();
    wait_until("it is dead", || moved.is_empty().unwrap());
    moved.remove().unwrap();
}

#[test]
fn devices_that_are_not_named_cannot_be_opened() {
    let Some(layout) = root_layout("devices_that_are_not_named") else { return };
    let mut test = TestGroup::new("devices", &layout, json!({"devices": [{"allow": false, "access": "rwm"}]}));
    assert_eq!(test.run("exec 3</dev/zero"), 0);
    assert_ne!(test.run("exec 3</dev/kmsg"), 0);
    let rules = json!({"devices": [{"allow": false, "access": "rwm"},
                                   {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]});
    create(&plan_for(&test.path, &layout, rules), &layout).unwrap();
    assert_eq!(test.run("exec 3</dev/kmsg"), 0);
    assert_ne!(test.run("exec 3>/dev/kmsg"), 0);
}
