//! cgroup v2: a directory that stands in for a tree, and the unified tree of this machine where there is one.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use serde_json::json;

use super::super::*;
use super::real::{TestGroup, plan_for, root_layout, wait_until};

/// A tree of plain files: the kernel's are there before they are written, so these are too.
fn fake_tree(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[test]
fn controllers_are_switched_on_along_the_path_and_limits_are_written() {
    let root = tempfile::tempdir().unwrap();
    fake_tree(
        root.path(),
        &[
            ("cgroup.subtree_control", ""),
            ("kubepods/cgroup.subtree_control", ""),
            ("kubepods/pod1/cgroup.subtree_control", ""),
            ("kubepods/pod1/a/cgroup.controllers", ""),
            ("kubepods/pod1/a/memory.max", ""),
            ("kubepods/pod1/a/cpu.max", ""),
            ("kubepods/pod1/a/io.weight", ""),
        ],
    );
    let layout = Layout::v2(root.path(), &["cpu", "io", "memory"]);
    let resources =
        json!({"memory": {"limit": 4096, "swap": 4096}, "cpu": {"quota": 5, "period": 10}, "blockIO": {"weight": 10}});
    create(&plan_for("/kubepods/pod1/a", &layout, resources), &layout).unwrap();
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    for group in ["", "kubepods/", "kubepods/pod1/"] {
        assert_eq!(read(&format!("{group}cgroup.subtree_control")), "+cpu +io +memory", "{group}");
    }
    assert_eq!(read("kubepods/pod1/a/memory.max"), "4096");
    assert_eq!(read("kubepods/pod1/a/cpu.max"), "5 10");
    assert_eq!(read("kubepods/pod1/a/io.weight"), "1");
}

#[test]
fn a_limit_whose_file_is_missing_is_named() {
    let root = tempfile::tempdir().unwrap();
    fake_tree(root.path(), &[("a/cgroup.controllers", "memory")]);
    let layout = Layout::v2(root.path(), &["memory"]);
    let swap = plan_for("/a", &layout, json!({"memory": {"swap": 9, "limit": 5}}));
    let error = create(&swap, &layout).unwrap_err();
    let text = cradle_domain::failure::Chain(&error).to_string();
    assert_eq!(text, "limiting the control group /a: setting memory.max to \"5\": the kernel does not offer this file");
    fs::write(root.path().join("a/memory.max"), "").unwrap();
    let error = cradle_domain::Failure::from(create(&swap, &layout).unwrap_err()).to_string();
    assert!(error.contains("memory.swap.max") && error.contains("swapaccount=1"), "{error}");
}

#[test]
fn a_failed_update_brings_the_earlier_values_back() {
    let root = tempfile::tempdir().unwrap();
    fake_tree(root.path(), &[("a/pids.max", "max\n"), ("a/cpu.weight", "100\n"), ("a/memory.current", "5000000\n")]);
    fake_tree(root.path(), &[("a/memory.max", "max\n")]);
    let layout = Layout::v2(root.path(), &["pids", "cpu", "memory"]);
    let group = Cgroup::open("/a", &layout).unwrap();
    let read = |file: &str| fs::read_to_string(root.path().join("a").join(file)).unwrap();
    let below = json!({"cpu": {"shares": 2}, "memory": {"limit": 4_000_000}, "pids": {"limit": 5}});
    let error = group.update(&plan_for("/a", &layout, below)).unwrap_err();
    let text = cradle_domain::Failure::from(error).to_string();
    assert_eq!(
        text,
        "changing the limits of the control group /a: setting memory.max to 4000000: the group uses 5000000 bytes now \
         (ask for a limit above what is used)"
    );
    assert_eq!(read("pids.max"), "max\n");
    let no_file = json!({"pids": {"limit": 5}, "cpu": {"burst": 7, "shares": 2}});
    group.update(&plan_for("/a", &layout, no_file)).unwrap_err();
    assert!(read("cpu.weight").starts_with("100"));
    assert!(read("pids.max").starts_with("max"));
}

/// The unified tree by itself: a real v2, if without controllers on a hybrid machine.
fn unified(test: &str) -> Option<Layout> {
    let layout = root_layout(test)?;
    let Some(tree) = layout.unified() else {
        eprintln!("skipped: {test} needs a unified tree");
        return None;
    };
    Some(Layout::v2(tree.mount_point(), &[]))
}

#[test]
fn the_kernel_enforces_a_device_program_and_its_replacement() {
    let Some(layout) = unified("the_kernel_enforces_a_device_program") else { return };
    let deny = json!({"devices": [{"allow": false, "access": "rwm"}]});
    let mut test = TestGroup::new("program", &layout, deny.clone());
    assert_eq!(test.run("exec 3</dev/zero"), 0);
    assert_ne!(test.run("exec 3</dev/kmsg"), 0);
    let read_only = json!({"devices": [{"allow": false, "access": "rwm"},
                                       {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]});
    create(&plan_for(&test.path, &layout, read_only), &layout).unwrap();
    assert_eq!(test.run("exec 3</dev/kmsg"), 0);
    assert_ne!(test.run("exec 3>/dev/kmsg"), 0);
    // An exec's group lies below it and is bound by the same rules.
    create(&plan_for(&test.path, &layout, deny), &layout).unwrap();
    let exec = test.group.exec_child("exec-1").unwrap().cgroup;
    let mut inner = TestGroup::of(exec, &layout);
    assert_ne!(inner.run("exec 3</dev/kmsg"), 0);
    assert_eq!(inner.run("exec 3</dev/zero"), 0);
    let directory = test.group.directory().unwrap().unwrap();
    assert_eq!(cradle_sys::bpf::device_programs(directory.as_fd(), 8).unwrap().len(), 1);
}

#[test]
fn the_kernel_kills_a_group_of_v2_and_an_exec_alone() {
    let Some(layout) = unified("the_kernel_kills_a_group_of_v2") else { return };
    let mut test = TestGroup::new("v2-kill", &layout, json!({}));
    let main = test.start("exec sleep 1000");
    let exec = test.group.exec_child("exec-1").unwrap().cgroup;
    test.start_in(&exec, "sleep 1000 & exec sleep 1000");
    wait_until("both processes of the exec are there", || exec.processes().unwrap().len() == 2);
    exec.kill().unwrap();
    wait_until("the exec is dead", || exec.is_empty().unwrap());
    assert_eq!(test.group.processes().unwrap(), [main]);
    assert!(!test.group.is_empty().unwrap());
    assert!(exec.entrance().unwrap().tasks().is_empty());
    exec.remove().unwrap();
}
