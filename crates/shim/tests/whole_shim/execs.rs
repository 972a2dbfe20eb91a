//! Execs: their pipes, terminals and timeouts.

use super::*;

#[test]
fn execs_use_the_daemons_pipes_and_tell_their_exit() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, _) = shim.start(&script("exec sleep 1000"));
    let (out, out_end) = pipe();
    let (err, err_end) = pipe();
    let (in_end, input) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let io = ExecIo::Pipes { stdin: true, stdout: true, stderr: true };
    let (exec, _) = shim.exec(&id, "cat; echo err >&2; exit 5", io, vec![in_end, out_end, err_end], None);
    std::fs::File::from(input).write_all(b"through").unwrap();
    assert_eq!((text(out), text(err)), ("through".to_owned(), "err\n".to_owned()));
    let exit = shim.client.exec_exit(exec);
    assert_eq!((exit.code, exit.timed_out), (5, false));

    let (exec, _) = shim.exec(&id, "kill -9 $$", SILENT, Vec::new(), Some(Duration::from_secs(1000)));
    let exit = shim.client.exec_exit(exec);
    assert_eq!((exit.code, exit.oom_killed, exit.timed_out), (137, false, false));
    shim.client.done(Request::KillContainer { container: id.clone() });
    shim.client.container_exit(&id);
    shim.shut_down();
}

#[test]
fn an_exec_that_times_out_takes_its_tree_along_and_nothing_else() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, _) = shim.start(&script("exec sleep 1001"));
    let (other, _) = shim.exec(&id, "exec sleep 1002", SILENT, Vec::new(), None);
    // One that ends by itself and leaves a process behind, which may live.
    let (left, _) = shim.exec(&id, "sleep 1003 & exit 0", SILENT, Vec::new(), None);
    assert_eq!(shim.client.exec_exit(left).code, 0);
    let group = shim.cgroup(&id);
    let processes = || {
        let mut pids: Vec<i32> = group.processes().unwrap().iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        pids.sort_unstable();
        pids
    };
    let before = processes();
    assert_eq!(before.len(), 3);

    let begun = Instant::now();
    let timeout = Some(Duration::from_millis(150));
    let command = "(setsid sleep 1004 &); sleep 1005 & trap '' TERM; sleep 1006";
    let (exec, _) = shim.exec(&id, command, SILENT, Vec::new(), timeout);
    let exit = shim.client.exec_exit(exec);
    assert!(exit.timed_out && exit.code == 137, "{exit:?}");
    assert!(begun.elapsed() >= Duration::from_millis(150));
    // Dead and reaped at once, not eventually.
    assert_eq!(processes(), before);
    let zombies = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = format!(") Z {} ", shim.pid.as_raw_nonzero());
        stat.contains(&parent)
    });
    assert_eq!(zombies.count(), 0);
    // What comes later is not killed with it.
    for _ in 0..2 {
        let (exec, _) = shim.exec(&id, "exit 7", SILENT, Vec::new(), None);
        assert_eq!(shim.client.exec_exit(exec).code, 7);
    }

    let target = Target::Exec(id.clone(), other);
    shim.client.done(Request::Signal { target, signal: 15, scope: Scope::Group });
    assert_eq!(shim.client.exec_exit(other).code, 143);
    shim.shut_down();
}

#[test]
fn execs_one_after_another_share_a_group_that_is_empty_and_there() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, _) = shim.start(&script("exec sleep 1000"));
    let group_of = |shim: &mut TestShim, command: &str| {
        let (out, end) = pipe();
        let io = ExecIo::Pipes { stdin: false, stdout: true, stderr: false };
        let (exec, _) = shim.exec(&id, &format!("cat /proc/self/cgroup; {command}"), io, vec![end], None);
        let text = text(out);
        assert_eq!(shim.client.exec_exit(exec).code, 0);
        // A group is kept after the exit was told.
        shim.client.hello();
        let path = text.lines().find(|line| line.contains("/exec-")).unwrap_or_else(|| panic!("{text}"));
        path.rsplit('/').next().unwrap().to_owned()
    };
    let first = group_of(&mut shim, "true");
    assert_eq!(group_of(&mut shim, "true"), first);
    assert_eq!(group_of(&mut shim, "sleep 1003 >/dev/null & true"), first);
    let second = group_of(&mut shim, "true");
    assert_ne!(second, first, "somebody is still in the first");
    // A container with its groups mounted may remove it.
    shim.remove_exec_group(&id, &second);
    let third = group_of(&mut shim, "true");
    assert!(third != second && third != first, "{third}");
    shim.shut_down();
}

#[test]
fn an_exec_with_a_terminal_gives_its_master_to_the_daemon() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, _) = shim.start(&script("exec sleep 1000"));
    let io = ExecIo::Terminal { columns: 90, rows: 30 };
    let (exec, mut descriptors) = shim.exec(&id, "stty size; tty; sleep 1000", io, Vec::new(), None);
    let mut master = std::fs::File::from(descriptors.pop().unwrap());
    let mut seen = String::new();
    let mut buffer = [0; 256];
    while !seen.contains("/dev/pts/") {
        let count = master.read(&mut buffer).unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    assert!(seen.starts_with("30 90\r\n"), "{seen:?}");
    let target = Target::Exec(id.clone(), exec);
    assert_eq!(shim.client.call(Request::Resize { target, columns: 1, rows: 1 }).unwrap_err().class, Class::Refused);
    // The daemon lets go of the terminal: the exec hears of it.
    drop(master);
    assert_eq!(shim.client.exec_exit(exec).code, 129);
    shim.shut_down();
}

#[test]
#[ignore = "prints figures"]
fn round_trips_are_measured() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, _) = shim.start(&script("exec sleep 1000"));
    let mut figures: [Vec<Duration>; 4] = Default::default();
    for _ in 0..50 {
        let begun = Instant::now();
        let (exec, _) = shim.exec(&id, "exit 0", SILENT, Vec::new(), Some(Duration::from_secs(10)));
        figures[0].push(begun.elapsed());
        shim.client.exec_exit(exec);
        figures[1].push(begun.elapsed());
    }
    for _ in 0..50 {
        let begun = Instant::now();
        let (id, _) = shim.start(&script("exec sleep 1000"));
        figures[2].push(begun.elapsed());
        let begun = Instant::now();
        shim.client.done(Request::KillContainer { container: id.clone() });
        shim.client.container_exit(&id);
        figures[3].push(begun.elapsed());
        shim.client.done(Request::RemoveContainer { container: id });
    }
    for (what, mut times) in
        ["exec runs", "exec has ended", "container runs", "container killed"].into_iter().zip(figures)
    {
        times.sort_unstable();
        println!(
            "{what}: median {:?}, best {:?}, worst {:?}",
            times[times.len() / 2],
            times[0],
            times[times.len() - 1]
        );
    }
    shim.shut_down();
}
