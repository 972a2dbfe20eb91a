//! Containers: their starts, signals, kills and ends.

use super::*;

#[test]
fn a_container_runs_is_logged_ends_and_is_removed() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let command = "echo to stdout; sleep 0.05; echo to stderr >&2; sleep 0.05; printf 'no line end'; exit 7";
    let (id, pid) = shim.start_logged(command, "logs/deep/0.log");
    let greeting = shim.client.hello();
    assert!(greeting.set_up && greeting.pod == shim.pod);
    assert_eq!(greeting.pid, shim.pid.as_raw_nonzero().get());
    assert_eq!(greeting.containers[0].pid, pid);

    let refusal = shim.client.call(Request::RemoveContainer { container: id.clone() }).unwrap_err();
    assert_eq!(refusal.class, Class::Refused);

    let exit = shim.client.container_exit(&id);
    assert_eq!((exit.code, exit.oom_killed, exit.timed_out), (7, false, false));
    assert_eq!(shim.log_lines("logs/deep/0.log"), ["stdout F to stdout", "stderr F to stderr", "stdout P no line end"]);
    let record = exit_record(&shim, &id).expect("a record");
    assert_eq!(record.report.exit, Some(exit));
    assert_eq!(shim.client.hello().containers[0].exit, Some(exit));

    shim.client.done(Request::KillContainer { container: id.clone() });
    for _ in 0..2 {
        shim.client.done(Request::RemoveContainer { container: id.clone() });
    }
    assert!(exit_record(&shim, &id).is_none());
    assert!(shim.client.hello().containers.is_empty());
    shim.shut_down();
}

#[test]
fn a_container_is_started_once() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let wanted = script("exec sleep 1000");
    // A daemon that dies while it waits, and one that comes back and asks again.
    let (id, _) = shim.begin(&wanted);
    shim.reconnect();
    let again = |shim: &mut TestShim| {
        let request = cradle_shim::protocol::StartContainer { plan: shim.plan(&id, &wanted), io: wanted.io.clone() };
        match shim.client.call(Request::StartContainer(Box::new(request))) {
            Ok((Reply::Started { pid, at }, _)) => (pid, at),
            other => panic!("{other:?}"),
        }
    };
    let first = again(&mut shim);
    assert_eq!(again(&mut shim), first);
    let reports = shim.client.hello().containers;
    assert_eq!((reports.len(), reports[0].pid), (1, first.0));
    shim.client.done(Request::KillContainer { container: id.clone() });
    assert_eq!(shim.client.container_exit(&id).code, 137);
    shim.shut_down();
}

#[test]
fn signals_reach_the_first_process_or_all_of_them() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let command = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.02; done";
    let (id, _) = shim.start_logged(command, "log");
    eventually("ready", || shim.log_lines("log").len() == 1);
    let target = Target::Container(id.clone());
    shim.client.done(Request::Signal { target: target.clone(), signal: 15, scope: Scope::Leader });
    assert_eq!(shim.client.container_exit(&id).code, 3);
    assert_eq!(shim.log_lines("log"), ["stdout F ready", "stdout F got it"]);
    // To the dead: done.
    shim.client.done(Request::Signal { target: target.clone(), signal: 15, scope: Scope::Leader });
    let refusal = shim.client.call(Request::Signal { target, signal: 99, scope: Scope::Leader }).unwrap_err();
    assert_eq!(refusal.class, Class::Invalid);
    shim.shut_down();
}

#[test]
fn a_kill_reaches_everything_that_a_container_started() {
    if !is_root() {
        return;
    }
    for own_pids in [true, false] {
        let mut shim = TestShim::with_host_pod();
        let mut wanted =
            script("trap '' TERM HUP; (setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' &); sleep 1000");
        wanted.own_pids = own_pids;
        let (id, _) = shim.start(&wanted);
        let group = shim.cgroup(&id);
        eventually("all of them run", || group.processes().unwrap().len() >= 4);
        let kill = shim.client.send(Request::KillContainer { container: id.clone() }, Vec::new());
        shim.client.answer(kill).unwrap();
        assert!(group.is_empty().unwrap());
        assert_eq!(shim.client.container_exit(&id).code, 137);
        shim.shut_down();
    }
}

#[test]
fn the_exit_of_the_first_process_is_that_of_the_container_even_if_others_hold_its_pipes() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let mut wanted = script("(setsid sleep 1000 &); echo bye; exit 4");
    wanted.own_pids = false;
    wanted.io.log_path = Some(shim.path("log").to_str().unwrap().to_owned());
    let (id, _) = shim.start(&wanted);
    let begun = Instant::now();
    assert_eq!(shim.client.container_exit(&id).code, 4);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(shim.log_lines("log"), ["stdout F bye"]);
    assert!(shim.cgroup(&id).is_empty().unwrap());
    shim.shut_down();
}

#[test]
fn a_container_that_needs_too_much_memory_is_told_as_such() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let mut wanted = script("exec tail /dev/zero");
    wanted.memory_limit_bytes = Some(16 << 20);
    let (id, _) = shim.start(&wanted);
    let exit = shim.client.container_exit(&id);
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    assert_eq!(exit_record(&shim, &id).unwrap().report.exit, Some(exit));

    // An exec that needs too much is killed alone.
    wanted.command = "exec sleep 1000";
    let (id, _) = shim.start(&wanted);
    let (exec, _) = shim.exec(&id, "exec tail /dev/zero", SILENT, Vec::new(), None);
    let exit = shim.client.exec_exit(exec);
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    let (exec, _) = shim.exec(&id, "kill -9 $$", SILENT, Vec::new(), None);
    assert!(!shim.client.exec_exit(exec).oom_killed);
    shim.shut_down();
}

#[test]
fn a_shim_that_is_killed_takes_its_containers_along() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, pid) = shim.start(&script("exec sleep 1000"));
    let (_, exec_pid, _) = shim.exec_with_pid(&id, "exec sleep 1000", SILENT, Vec::new(), None);
    shim.kill();
    // The test is the subreaper: they have become its children.
    for pid in [exec_pid, pid] {
        let pid = rustix::process::Pid::from_raw(pid);
        let (_, status) = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(9));
    }
    let group = shim.cgroup(&id);
    assert!(group.is_empty().unwrap());
    group.remove().unwrap();
}

#[test]
fn a_start_that_fails_is_refused_with_its_reason_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let mut wanted = script("true");
    wanted.bind = Some(shim.path("nowhere"));
    let (id, sequence) = shim.begin(&wanted);
    let refusal = shim.client.answer(sequence).unwrap_err();
    assert!(refusal.message.contains("nowhere"), "{refusal:?}");
    assert!(shim.client.hello().containers.is_empty());
    shim.client.done(Request::RemoveContainer { container: id.clone() });
    shim.client.done(Request::KillContainer { container: id });
    shim.shut_down();
}

#[test]
fn a_mount_source_that_hangs_holds_up_nothing_but_its_own_container() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let Some(hung) = HungMount::new(shim.path("hung")) else {
        println!("SKIPPED: no FUSE on this machine");
        return shim.shut_down();
    };
    let (other, _) = shim.start_logged("n=0; while :; do echo $n; n=$((n+1)); sleep 0.01; done", "log");
    let mut wanted = script("true");
    wanted.bind = Some(hung.path.join("below"));
    let (id, start) = shim.begin(&wanted);
    let lines = shim.log_lines("log").len();
    eventually("the other one is logged", || shim.log_lines("log").len() > lines + 3);
    // Its answer comes although that to the start does not.
    let (exec, _) = shim.exec(&other, "exit 6", SILENT, Vec::new(), None);
    assert_eq!(shim.client.exec_exit(exec).code, 6);
    let kill = shim.client.send(Request::KillContainer { container: id.clone() }, Vec::new());
    let refusal = shim.client.answer(start).unwrap_err();
    assert!(refusal.message.contains("killed"), "{refusal:?}");
    shim.client.answer(kill).unwrap();
    assert!(shim.cgroup(&id).is_empty().unwrap());

    // A daemon that leaves takes what it was starting along, and a shutdown waits for no start.
    shim.begin(&wanted);
    shim.reconnect();
    assert_eq!(shim.client.hello().containers.len(), 1);
    shim.begin(&wanted);
    let shutdown = shim.client.send(Request::Shutdown, Vec::new());
    loop {
        // The start is refused, the other container's exit is told, and then comes the last answer.
        match shim.client.answer_to_any() {
            (sequence, Ok(Reply::Done)) if sequence == shutdown => break,
            (sequence, Err(_)) if sequence != shutdown => {}
            other => panic!("{other:?}"),
        }
    }
    drop(hung);
    shim.wait_for_end();
}

#[test]
fn a_first_process_that_has_left_its_group_is_killed_all_the_same() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let mut wanted = script("exec sleep 1000");
    wanted.own_pids = false;
    let (id, pid) = shim.start(&wanted);
    let elsewhere = shim.move_elsewhere(pid);
    shim.client.done(Request::KillContainer { container: id.clone() });
    assert_eq!(shim.client.container_exit(&id).code, 137);
    elsewhere.remove().unwrap();
    shim.shut_down();
}
