//! What shims cost: prints the memory of fifty of them, each with one running container.
//!
//! The promise is for the static program, which `make build` makes; it is measured by
//! `CRADLE_SHIM=$PWD/target/dist/cradle-shim cargo test -p cradle-shim --test memory -- --ignored --nocapture`.

mod support;

use std::time::Duration;

use cradle_shim::protocol::{ExecIo, Request};
use rustix::process::Pid;
use support::{TestShim, eventually, is_root, script};

const SHIMS: usize = 50;
const PSS_MAX_KIB: u64 = 150;

fn rollup(pid: Pid, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "prints figures; the promise is for the static program"]
fn fifty_shims_are_small() {
    if !is_root() {
        return;
    }
    let mut shims: Vec<TestShim> = (0..SHIMS).map(|_| TestShim::with_host_pod()).collect();
    let idle: Vec<Pid> = shims.iter().map(|shim| shim.pid).collect();
    let mean = |field: &str| idle.iter().map(|pid| rollup(*pid, field)).sum::<u64>() / SHIMS as u64;
    println!("set up:  PSS {} KiB, private dirty {} KiB each", mean("Pss:"), mean("Private_Dirty:"));
    for (index, shim) in shims.iter_mut().enumerate() {
        shim.start_logged("seq 1 20000; exec sleep 100000", &format!("log-{index}"));
    }
    for (index, shim) in shims.iter().enumerate() {
        eventually("its output is logged", || shim.log_lines(&format!("log-{index}")).len() == 20_000);
    }
    println!("at once: PSS {} KiB, private dirty {} KiB each", mean("Pss:"), mean("Private_Dirty:"));
    let settled = || mean("Private_Dirty:") <= PSS_MAX_KIB;
    if std::env::var_os("CRADLE_SHIM").is_some() {
        eventually("buffers are given back", settled);
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    println!("at rest: PSS {} KiB, private dirty {} KiB each", mean("Pss:"), mean("Private_Dirty:"));
    if std::env::var_os("CRADLE_SHIM").is_some() {
        assert!(mean("Pss:") <= PSS_MAX_KIB);
    }
    for mut shim in shims {
        for report in shim.client.hello().containers {
            shim.client.done(Request::KillContainer { container: report.container });
        }
        shim.shut_down();
    }
}

#[test]
fn execs_leave_nothing_behind_in_a_shim() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, _) = shim.start(&script("exec sleep 1000"));
    let descriptors = |pid: Pid| std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap().count();
    let silent = ExecIo::Pipes { stdin: false, stdout: false, stderr: false };
    let mut before = (0, 0);
    for round in 0..300 {
        let (exec, _) = shim.exec(&id, "exit 0", silent, Vec::new(), Some(Duration::from_secs(100)));
        assert_eq!(shim.client.exec_exit(exec).code, 0);
        if round == 50 {
            before = (descriptors(shim.pid), rollup(shim.pid, "Private_Dirty:"));
        }
    }
    shim.client.hello();
    eventually("descriptors are closed", || descriptors(shim.pid) == before.0);
    assert!(rollup(shim.pid, "Private_Dirty:") <= before.1 + 64, "its memory grows");
    shim.shut_down();
}
