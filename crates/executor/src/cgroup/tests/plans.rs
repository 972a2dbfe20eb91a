//! What plans say, on v1 and v2.

use std::path::Path;

use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use super::super::{CgroupPlan, Layout, PlanError, plan};

fn v1() -> Layout {
    Layout::v1(
        Path::new("/sys/fs/cgroup"),
        &["cpu", "cpuset", "memory", "pids", "blkio", "devices", "hugetlb", "net_cls", "net_prio", "rdma"],
    )
}

fn v2() -> Layout {
    Layout::v2(Path::new("/sys/fs/cgroup"), &["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"])
}

fn planned(layout: &Layout, resources: Value) -> Result<CgroupPlan, PlanError> {
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    plan("/kubepods/pod1/a", Some(&resources), layout)
}

/// The writes of a plan, or the error.
fn lines(layout: &Layout, resources: Value) -> Vec<String> {
    match planned(layout, resources) {
        Ok(plan) => plan.writes.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn check(resources: &Value, on_v1: &[&str], on_v2: &[&str]) {
    assert_eq!(lines(&v1(), resources.clone()), on_v1, "v1: {resources}");
    assert_eq!(lines(&v2(), resources.clone()), on_v2, "v2: {resources}");
}

#[test]
fn what_is_not_set_writes_nothing() {
    check(&json!({}), &[], &[]);
    check(
        &json!({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
                "memory": {"limit": 0, "swap": 0, "reservation": 0}, "pids": {"limit": 0}, "blockIO": {"weight": 0},
                "hugepageLimits": [], "unified": {}, "rdma": {}, "devices": []}),
        &[],
        &[],
    );
    assert_eq!(plan("/a", None, &v2()).unwrap().devices, None);
}

#[test]
fn processors_are_limited() {
    check(
        &json!({"cpu": {"shares": 1024, "quota": 50000, "period": 100_000, "cpus": "0-1", "mems": "0"}}),
        &[
            "cpu.shares = \"1024\"",
            "cpu.cfs_period_us = \"100000\"",
            "cpu.cfs_quota_us = \"50000\"",
            "cpuset.cpus = \"0-1\"",
            "cpuset.mems = \"0\"",
        ],
        &["cpu.weight = \"100\"", "cpu.max = \"50000 100000\"", "cpuset.cpus = \"0-1\"", "cpuset.mems = \"0\""],
    );
    check(&json!({"cpu": {"quota": -1}}), &["cpu.cfs_quota_us = \"-1\""], &["cpu.max = \"max\""]);
    check(&json!({"cpu": {"quota": 5000}}), &["cpu.cfs_quota_us = \"5000\""], &["cpu.max = \"5000\""]);
    check(&json!({"cpu": {"period": 5000}}), &["cpu.cfs_period_us = \"5000\""], &["cpu.max = \"max 5000\""]);
    check(
        &json!({"cpu": {"shares": 512, "burst": 0, "idle": 1}}),
        &["cpu.cfs_burst_us = \"0\" if the file exists", "cpu.idle = \"1\""],
        &["cpu.max.burst = \"0\" if the file exists", "cpu.idle = \"1\""],
    );
    check(
        &json!({"cpu": {"realtimeRuntime": 95}}),
        &["cpu.rt_runtime_us = \"95\""],
        &["cpu.realtimeRuntime = 95 cannot be applied: cgroup v2 has no limits for realtime tasks"],
    );
}

#[test]
fn swap_is_memory_and_swap_together_on_v1_and_apart_on_v2() {
    let memory = |limit: i64, swap: i64| json!({"memory": {"limit": limit, "swap": swap}});
    check(
        &memory(100, 300),
        &["memory.limit_in_bytes = \"100\"", "memory.memsw.limit_in_bytes = \"300\""],
        &["memory.max = \"100\"", "memory.swap.max = \"200\""],
    );
    check(
        &memory(100, 100),
        &["memory.limit_in_bytes = \"100\"", "memory.memsw.limit_in_bytes = \"100\" if the file exists"],
        &["memory.max = \"100\"", "memory.swap.max = \"0\" if the file exists"],
    );
    check(
        &memory(-1, 0),
        &["memory.limit_in_bytes = \"-1\"", "memory.memsw.limit_in_bytes = \"-1\" if the file exists"],
        &["memory.max = \"max\"", "memory.swap.max = \"max\" if the file exists"],
    );
    check(&memory(100, 0), &["memory.limit_in_bytes = \"100\""], &["memory.max = \"100\""]);
    for (limit, swap, message) in [
        (0, 5, "memory.swap = 5 is not valid: a limit of memory and swap needs a limit of memory"),
        (-1, 5, "memory.swap = 5 is not valid: a limit of memory and swap needs a limit of memory"),
        (9, 5, "memory.swap = 5 is not valid: memory and swap together cannot be less than the memory limit"),
        (-2, 0, "memory.limit = -2 is not valid: it is a number of bytes, or -1 for no limit"),
    ] {
        check(&memory(limit, swap), &[message], &[message]);
    }
}

#[test]
fn memory_settings_that_v2_lacks_are_refused_there() {
    check(
        &json!({"memory": {"reservation": 5, "swappiness": 60}}),
        &["memory.soft_limit_in_bytes = \"5\"", "memory.swappiness = \"60\""],
        &["memory.swappiness = 60 cannot be applied: cgroup v2 has no swappiness of a group"],
    );
    check(&json!({"memory": {"reservation": 5}}), &["memory.soft_limit_in_bytes = \"5\""], &["memory.low = \"5\""]);
    check(
        &json!({"memory": {"disableOOMKiller": true}}),
        &["memory.oom_control = \"1\""],
        &["memory.disableOOMKiller = true cannot be applied: cgroup v2 cannot switch the OOM killer off"],
    );
    check(&json!({"memory": {"disableOOMKiller": false}}), &[], &[]);
}

#[test]
fn tasks_block_devices_and_huge_pages_are_limited() {
    check(&json!({"pids": {"limit": 7}}), &["pids.max = \"7\""], &["pids.max = \"7\""]);
    check(&json!({"pids": {"limit": -1}}), &["pids.max = \"max\""], &["pids.max = \"max\""]);
    check(
        &json!({"blockIO": {"weight": 100, "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}}),
        &[
            "blkio.bfq.weight = \"100\" or else blkio.weight = \"100\"",
            "blkio.bfq.weight_device = \"8:0 500\" or else blkio.weight_device = \"8:0 500\"",
            "blkio.throttle.read_bps_device = \"8:0 9\"",
            "blkio.throttle.write_iops_device = \"8:16 0\"",
        ],
        &[
            "io.bfq.weight = \"100\" or else io.weight = \"910\"",
            "io.bfq.weight = \"8:0 500\" or else io.weight = \"8:0 4950\"",
            "io.max = \"8:0 rbps=9\"",
            "io.max = \"8:16 wiops=max\"",
        ],
    );
    check(
        &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}, {"pageSize": "1GB", "limit": 0}]}),
        &[
            "hugetlb.2MB.limit_in_bytes = \"4096\"",
            "hugetlb.2MB.rsvd.limit_in_bytes = \"4096\" if the file exists",
            "hugetlb.1GB.limit_in_bytes = \"0\" if the file exists",
            "hugetlb.1GB.rsvd.limit_in_bytes = \"0\" if the file exists",
        ],
        &[
            "hugetlb.2MB.max = \"4096\"",
            "hugetlb.2MB.rsvd.max = \"4096\" if the file exists",
            "hugetlb.1GB.max = \"0\" if the file exists",
            "hugetlb.1GB.rsvd.max = \"0\" if the file exists",
        ],
    );
    check(
        &json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 5}}}),
        &["rdma.max = \"mlx4_0 hca_object=5\"", "rdma.max = \"mlx5_1 hca_handle=3 hca_object=10000\""],
        &["rdma.max = \"mlx4_0 hca_object=5\"", "rdma.max = \"mlx5_1 hca_handle=3 hca_object=10000\""],
    );
    let message = "hugepageLimits.pageSize = 2MB/../x is not valid: it is a number and KB, MB or GB";
    check(&json!({"hugepageLimits": [{"pageSize": "2MB/../x", "limit": 1}]}), &[message], &[message]);
}

#[test]
fn unified_files_are_written_last_on_v2_and_refused_on_v1() {
    check(
        &json!({"unified": {"memory.high": "5", "memory.max": "max"}, "memory": {"limit": 9}}),
        &[
            "unified.memory.high = 5 cannot be applied: unified resources are files of cgroup v2, and this machine uses v1",
        ],
        &["memory.max = \"9\"", "memory.high = \"5\"", "memory.max = \"max\""],
    );
    for (key, message) in [
        ("cgroup.freeze", "cgroup.* files move, freeze and kill processes, which is not for resources"),
        ("../x.y", "a key is the name of a file, controller.name"),
        ("memory", "a key is the name of a file, controller.name"),
    ] {
        let expected = format!("unified.{key} = 1 is not valid: {message}");
        assert_eq!(lines(&v2(), json!({"unified": {key: "1"}})), [expected]);
    }
}

#[test]
fn a_missing_controller_is_named_unless_nothing_is_asked_of_it() {
    let bare_v1 = Layout::v1(Path::new("/sys/fs/cgroup"), &["cpu"]);
    let bare_v2 = Layout::v2(Path::new("/sys/fs/cgroup"), &["cpu"]);
    for (resources, on_v1, on_v2) in [
        (json!({"pids": {"limit": 5}}), "pids.max = 5", "pids.max = 5"),
        (
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 5}]}),
            "hugetlb.2MB.limit_in_bytes = 5",
            "hugetlb.2MB.max = 5",
        ),
        (json!({"memory": {"limit": 5}}), "memory.limit_in_bytes = 5", "memory.max = 5"),
    ] {
        for (layout, setting) in [(&bare_v1, on_v1), (&bare_v2, on_v2)] {
            let controller = setting.split('.').next().unwrap();
            let expected =
                format!("{setting} cannot be applied: this machine has no {controller} controller for control groups");
            assert_eq!(lines(layout, resources.clone()), [expected]);
        }
    }
    let zero = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "rdma": {"mlx5_1": {"hcaHandles": 0}}});
    assert_eq!(lines(&bare_v1, zero.clone()), [""; 0]);
    assert_eq!(lines(&bare_v2, zero), [""; 0]);
    let devices = planned(&bare_v1, json!({"devices": [{"allow": false, "access": "rwm"}]})).unwrap_err();
    assert!(devices.to_string().contains("no devices controller"), "{devices}");
}

#[test]
fn a_plan_prints_a_line_for_each_write_and_rule_and_travels() {
    let resources = json!({"pids": {"limit": 5}, "devices": [
        {"allow": true, "type": "c", "major": 9, "minor": 9, "access": "r"},
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "b", "major": 8, "access": "rw"}]});
    let plan = planned(&v2(), resources).unwrap();
    let text = plan.to_string();
    let expected = "\
cgroup /kubepods/pod1/a
cgroup write pids.max = \"5\"
cgroup device deny a *:* rwm
cgroup device allow b 8:* rw
cgroup device allow c *:* m
";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with("cgroup device allow c 136:* rwm"), "{text}");
    let copy: CgroupPlan = postcard::from_bytes(&postcard::to_allocvec(&plan).unwrap()).unwrap();
    assert_eq!(copy, plan);
}

#[test]
fn a_privileged_container_gets_all_devices_and_no_exceptions() {
    let rules = planned(&v2(), json!({"devices": [{"allow": true, "access": "rwm"}]})).unwrap().devices.unwrap();
    assert_eq!(rules.to_owned().exceptions, []);
    assert_eq!(rules.base, super::super::Verdict::Allow);
}

#[test]
fn device_rules_that_mean_nothing_are_refused() {
    let rule = |rule: Value| lines(&v2(), json!({"devices": [rule]}));
    for (bad, message) in [
        (
            json!({"allow": true, "type": "c", "access": "rx"}),
            "devices.access = rx is not valid: it is a combination of r, w and m",
        ),
        (json!({"allow": true, "type": "p", "access": "r"}), "devices.type = p is not valid: a fifo is no device"),
        (
            json!({"allow": true, "type": "c", "major": 5000, "access": "r"}),
            "devices.major = 5000 is not valid: no device has such a number",
        ),
        (
            json!({"allow": true, "type": "c", "minor": -2, "access": "r"}),
            "devices.minor = -2 is not valid: no device has such a number",
        ),
    ] {
        assert_eq!(rule(bad), [message]);
    }
    let hole = json!({"devices": [
        {"allow": true, "type": "c", "major": 10, "access": "rwm"},
        {"allow": false, "type": "c", "major": 10, "minor": 200, "access": "w"}]});
    assert!(planned(&v2(), hole.clone()).is_ok());
    let error = planned(&v1(), hole).unwrap_err().to_string();
    assert!(error.starts_with("devices = deny c 10:200 w is not valid: cgroup v1 cannot"), "{error}");
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    for path in ["", "/", "kubepods/a", "/a/../../b"] {
        assert!(matches!(plan(path, None, &v2()), Err(PlanError::Path { .. })), "{path:?}");
    }
}
