//! Pods with a user namespace: the process that the shim makes is succeeded by another one on its way to its program.

use super::*;

#[test]
fn a_container_in_a_user_namespace_is_watched_as_any_other() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_user_namespace();
    let (id, pid) = shim.start_logged("cat /proc/self/uid_map; sleep 1000 & wait", "log");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    eventually("the log", || shim.log_lines("log").len() == 1);
    assert_eq!(words(&shim.log_lines("log")[0]), "stdout F 0 200000 1000");
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert_eq!(words(&map), "0 200000 1000");
    assert_eq!(shim.client.hello().containers[0].pid, pid);

    let (reader, writer) = pipe();
    let io = ExecIo::Pipes { stdin: false, stdout: true, stderr: false };
    let (exec, _) = shim.exec(&id, "id -u; cat /proc/1/comm", io, vec![writer], None);
    assert_eq!(text(reader), "0\nsh\n");
    assert_eq!(shim.client.exec_exit(exec).code, 0);

    shim.client.done(Request::KillContainer { container: id.clone() });
    assert_eq!(shim.client.container_exit(&id).code, 137);
    shim.client.done(Request::RemoveContainer { container: id });
    shim.shut_down();
}

/// A program may end before the shim has looked at anything that led to it.
#[test]
fn every_short_life_in_a_user_namespace_is_told() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_user_namespace();
    for code in 0..40 {
        let (id, _) = shim.start(&script(&format!("exit {code}")));
        assert_eq!(shim.client.container_exit(&id).code, code);
        shim.client.done(Request::RemoveContainer { container: id });
    }
    let mut wanted = script("true");
    wanted.bind = Some("/nonexistent".into());
    let (_, sequence) = shim.begin(&wanted);
    let refusal = shim.client.answer(sequence).unwrap_err();
    assert!(refusal.message.contains("bind source /nonexistent for /tmp"), "{refusal:?}");
    shim.shut_down();
}

/// Whichever of the two processes a kill meets, nothing of the container is left, and all who ask are answered.
#[test]
fn a_container_can_be_killed_on_its_way_into_a_user_namespace() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_user_namespace();
    for round in 0..60_u64 {
        let (id, start) = shim.begin(&script("exec sleep 1000"));
        let until = Instant::now() + Duration::from_micros(round * 100);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        let kill = shim.client.send(Request::KillContainer { container: id.clone() }, Vec::new());
        let mut started = false;
        for _ in 0..2 {
            let (sequence, answer) = shim.client.answer_to_any();
            match (sequence == kill, answer) {
                (true, answer) => assert!(matches!(answer, Ok(Reply::Done)), "{answer:?}"),
                (false, answer) => {
                    assert_eq!(sequence, start);
                    started = answer.is_ok();
                }
            }
        }
        if started {
            assert_eq!(shim.client.container_exit(&id).code, 137);
            shim.client.done(Request::RemoveContainer { container: id });
        }
    }
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shim.pid.as_raw_nonzero())).unwrap();
    assert_eq!(children, "", "processes are left");
    shim.shut_down();
}
