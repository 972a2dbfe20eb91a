//! The real program, as root: containers from a folder, on the host's network, with everything that a daemon may ask for.

mod support;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use cradle_domain::Class;
use cradle_executor::pod::{PidShare, PodPlan};
use cradle_shim::protocol::{Event, ExecIo, ExitRecord, Reply, Request, Scope, Target};
use support::{Client, HungMount, SmallDisk, TestShim, eventually, is_root, script};

fn pipe() -> (std::fs::File, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (reader.into(), writer)
}

fn text(mut pipe: impl Read) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

const SILENT: ExecIo = ExecIo::Pipes { stdin: false, stdout: false, stderr: false };

fn exit_record(shim: &TestShim, id: &cradle_domain::ContainerId) -> Option<ExitRecord> {
    let bytes = std::fs::read(shim.path("pod/exits").join(id.as_str())).ok()?;
    Some(postcard::from_bytes(&bytes).unwrap())
}

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
fn a_container_is_started_once() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, _) = shim.start(&script("exec sleep 1000"));
    let plan = shim.plan(&id, &script("true"));
    let request = cradle_shim::protocol::StartContainer { plan, io: script("true").io };
    let again = shim.client.call(Request::StartContainer(Box::new(request))).unwrap_err();
    assert_eq!(again.class, Class::Refused, "{again:?}");
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

    let target = Target::Exec(id.clone(), other);
    shim.client.done(Request::Signal { target, signal: 15, scope: Scope::Group });
    assert_eq!(shim.client.exec_exit(other).code, 143);
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
fn a_daemon_that_comes_back_learns_of_exits_in_between() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (short, pid) = shim.start_logged("sleep 0.2; echo done; exit 9", "log");
    let (long, _) = shim.start(&script("exec sleep 1000"));
    shim.client = Client::new(
        rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
        .0,
    );
    eventually("the record", || exit_record(&shim, &short).is_some());
    shim.reconnect();
    let reports = shim.client.hello().containers;
    assert_eq!(reports.len(), 2);
    assert_eq!((reports[0].container.clone(), reports[0].pid), (short, pid));
    assert_eq!(reports[0].exit.unwrap().code, 9);
    assert!(reports[1].exit.is_none());
    assert_eq!(shim.log_lines("log"), ["stdout F done"]);

    // A second daemon takes over; the first sees the end of its connection.
    let mut second = shim.second_client();
    second.hello();
    std::mem::swap(&mut shim.client, &mut second);
    assert!(second.is_closed());
    shim.client.done(Request::KillContainer { container: long.clone() });
    assert_eq!(shim.client.container_exit(&long).code, 137);
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
fn a_client_that_attaches_speaks_with_the_container() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let mut wanted = script("while read line; do echo \"<$line>\"; done; echo end >&2");
    wanted.io.stdin = true;
    wanted.io.stdin_once = true;
    wanted.io.log_path = Some(shim.path("log").to_str().unwrap().to_owned());
    let (id, _) = shim.start(&wanted);
    let attach = Request::Attach { container: id.clone(), stdin: true, stdout: true, stderr: true };
    let (reply, mut descriptors) = shim.client.call(attach).unwrap();
    assert!(matches!(reply, Reply::Attached { stdin: true, stdout: true, stderr: true, terminal: false }));
    let attach = Request::Attach { container: id.clone(), stdin: true, stdout: true, stderr: false };
    let (reply, mut second) = shim.client.call(attach).unwrap();
    assert!(matches!(reply, Reply::Attached { stdin: false, stdout: true, stderr: false, terminal: false }));

    let stderr = std::fs::File::from(descriptors.pop().unwrap());
    let stdout = std::fs::File::from(descriptors.pop().unwrap());
    let mut stdin = std::fs::File::from(descriptors.pop().unwrap());
    stdin.write_all(b"one\ntwo\n").unwrap();
    drop(stdin);
    assert_eq!(text(stdout), "<one>\n<two>\n");
    assert_eq!(text(stderr), "end\n");
    assert_eq!(text(std::fs::File::from(second.pop().unwrap())), "<one>\n<two>\n");
    assert_eq!(shim.client.container_exit(&id).code, 0);
    assert_eq!(shim.log_lines("log"), ["stdout F <one>", "stdout F <two>", "stderr F end"]);
    let attach = Request::Attach { container: id, stdin: false, stdout: true, stderr: true };
    assert_eq!(shim.client.call(attach).unwrap_err().class, Class::Refused);
    shim.shut_down();
}

#[test]
fn a_container_with_a_terminal_is_resized_attached_and_logged() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let mut wanted = script("stty -echo; echo ready; read line; stty size; test -t 2 && echo \"$line\"");
    wanted.io.terminal = true;
    wanted.io.stdin = true;
    wanted.io.log_path = Some(shim.path("log").to_str().unwrap().to_owned());
    let (id, _) = shim.start(&wanted);
    eventually("ready", || shim.log_lines("log").len() == 1);
    let target = Target::Container(id.clone());
    shim.client.done(Request::Resize { target, columns: 100, rows: 40 });
    let attach = Request::Attach { container: id.clone(), stdin: true, stdout: true, stderr: true };
    let (reply, mut descriptors) = shim.client.call(attach).unwrap();
    assert!(matches!(reply, Reply::Attached { stdin: true, stdout: true, stderr: false, terminal: true }));
    let stdout = std::fs::File::from(descriptors.pop().unwrap());
    std::fs::File::from(descriptors.pop().unwrap()).write_all(b"typed\n").unwrap();
    assert_eq!(text(stdout), "40 100\r\ntyped\r\n");
    assert_eq!(shim.client.container_exit(&id).code, 0);
    assert_eq!(shim.log_lines("log"), ["stdout F ready", "stdout F 40 100", "stdout F typed"]);
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
fn a_rotated_log_is_opened_anew_and_never_made_where_its_folder_is_gone() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, _) = shim.start_logged("n=0; while :; do echo $n; n=$((n+1)); sleep 0.01; done", "logs/0.log");
    eventually("lines", || shim.log_lines("logs/0.log").len() > 3);
    std::fs::rename(shim.path("logs/0.log"), shim.path("logs/0.log.1")).unwrap();
    shim.client.done(Request::ReopenLog { container: id.clone() });
    eventually("lines in the new file", || shim.log_lines("logs/0.log").len() > 3);
    let numbers = [shim.log_lines("logs/0.log.1"), shim.log_lines("logs/0.log")].concat();
    let expected: Vec<String> = (0..numbers.len()).map(|n| format!("stdout F {n}")).collect();
    assert_eq!(numbers, expected, "no line is lost or doubled");

    std::fs::rename(shim.path("logs"), shim.path("gone")).unwrap();
    let refusal = shim.client.call(Request::ReopenLog { container: id.clone() }).unwrap_err();
    assert_eq!(refusal.class, Class::NotFound, "{refusal:?}");
    assert!(!shim.path("logs").exists());
    let before = shim.log_lines("gone/0.log").len();
    eventually("the old file stays in use", || shim.log_lines("gone/0.log").len() > before);
    shim.shut_down();
}

#[test]
fn garbage_closes_the_connection_and_the_next_one_is_served() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let garbage: [&[u8]; 4] = [&[0xff; 100], &[0], &[1, 0, 0], &[7; 70_000]];
    for bytes in garbage {
        cradle_sys::seqpacket::send(shim.client.socket(), bytes, &[]).unwrap();
        assert!(shim.client.is_closed());
        shim.reconnect();
        assert!(shim.client.hello().set_up);
    }
    // A request of a later version is refused, and the connection stays.
    cradle_sys::seqpacket::send(shim.client.socket(), &[0, 42, 1, b'r', 99], &[]).unwrap();
    assert_eq!(shim.client.answer(42).unwrap_err().class, Class::Unimplemented);
    // Descriptors that nobody asked for are closed, not kept.
    let open = || std::fs::read_dir(format!("/proc/{}/fd", shim.pid.as_raw_nonzero())).unwrap().count();
    let before = open();
    for _ in 0..20 {
        let (_reader, writer) = pipe();
        let sequence = shim.client.send(Request::Hello { version: 1 }, vec![writer]);
        shim.client.answer(sequence).unwrap();
    }
    eventually("they are closed", || open() == before);
    shim.shut_down();
}

#[test]
fn the_daemon_gets_connections_into_the_pod() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
        let port = listener.local_addr().unwrap().port();
        let (reply, mut descriptors) = shim.client.call(Request::Dial { port }).unwrap();
        assert!(matches!(reply, Reply::Done));
        let mut ours = std::net::TcpStream::from(descriptors.pop().unwrap());
        ours.set_nonblocking(false).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.write_all(b"hello").unwrap();
        drop(theirs);
        assert_eq!(text(&mut ours), "hello");
    }
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refusal = shim.client.call(Request::Dial { port: unused }).unwrap_err();
    assert!(refusal.message.contains(&unused.to_string()), "{refusal:?}");
    shim.shut_down();
}

#[test]
fn output_at_full_speed_is_logged_whole_and_a_lagging_client_does_not_hold_it_up() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (id, _) = {
        let mut wanted = script("read go; seq 1 300000; exec >&-; exit 0");
        wanted.io.stdin = true;
        wanted.io.log_path = Some(shim.path("log").to_str().unwrap().to_owned());
        shim.start(&wanted)
    };
    let attach = Request::Attach { container: id.clone(), stdin: true, stdout: true, stderr: false };
    let (_, descriptors) = shim.client.call(attach).unwrap();
    rustix::io::write(&descriptors[0], b"go\n").unwrap();
    assert_eq!(shim.client.container_exit(&id).code, 0);
    let lines = shim.log_lines("log");
    assert_eq!(lines.len(), 300_000);
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("stdout F {}", n + 1));
    }
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
fn a_full_disk_costs_log_lines_but_no_time_and_is_told() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let small = SmallDisk::new(shim.path("small"));
    std::fs::write(shim.path("small/ballast"), vec![0; 128 * 1024]).unwrap();
    let mut wanted = script("read go; seq 1 4000; echo all written >&2; read go; echo there is room");
    wanted.io.stdin = true;
    wanted.io.log_path = Some(shim.path("small/log").to_str().unwrap().to_owned());
    let (id, _) = shim.start(&wanted);
    let attach = Request::Attach { container: id.clone(), stdin: true, stdout: false, stderr: true };
    let (_, descriptors) = shim.client.call(attach).unwrap();
    rustix::io::write(&descriptors[0], b"go\n").unwrap();
    // The container is not held up.
    assert_eq!(rustix::io::read(&descriptors[1], &mut [0; 100]).unwrap(), "all written\n".len());
    let lost = match shim.client.event() {
        Event::LogLost { container, lost_bytes, error } if container == id && error.contains("No space") => lost_bytes,
        other => panic!("{other:?}"),
    };
    assert!(lost > 0);
    std::fs::remove_file(shim.path("small/ballast")).unwrap();
    rustix::io::write(&descriptors[0], b"go\n").unwrap();
    let mut told = lost;
    let exit = loop {
        match shim.client.event() {
            Event::LogLost { lost_bytes, .. } => told += lost_bytes,
            Event::ContainerExited { exit, .. } => break exit,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(exit.code, 0);
    let lines = shim.log_lines("small/log");
    assert_eq!(lines.last().unwrap(), "stdout F there is room");
    // What stands in the log, what the notes in it count, and what was told, add up.
    let noted = |line: &String| line.strip_prefix("stderr F [cradle: ")?.split(' ').next()?.parse::<u64>().ok();
    assert_eq!(lines.iter().filter_map(noted).sum::<u64>(), told);
    drop(small);
    shim.shut_down();
}

#[test]
fn a_shim_without_descriptors_refuses_and_works_again_when_there_are_some() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let limit = |current| rustix::process::Rlimit { current: Some(current), maximum: Some(1024) };
    let set =
        |pid, current| rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit(current)).unwrap();
    let (kept, _) = shim.start(&script("exec sleep 1000"));
    // What is open stays open; nothing more can be.
    set(shim.pid, 3);
    let (_, sequence) = shim.begin(&script("true"));
    assert_eq!(shim.client.answer(sequence).unwrap_err().class, Class::Exhausted);
    let attach = Request::Attach { container: kept.clone(), stdin: false, stdout: true, stderr: true };
    assert_eq!(shim.client.call(attach).unwrap_err().class, Class::Exhausted);
    let sequence = shim.client.send(Request::Hello { version: 1 }, vec![pipe().1]);
    assert_eq!(shim.client.answer(sequence).unwrap_err().class, Class::Exhausted);

    // A connection that cannot be accepted waits, and the shim does not run in circles meanwhile.
    let mut second = shim.second_client();
    let before = cpu_ticks(&shim);
    std::thread::sleep(Duration::from_millis(300));
    assert!(cpu_ticks(&shim) - before <= 2, "it spins");
    set(shim.pid, 1024);
    assert_eq!(second.hello().containers.len(), 1);
    shim.client = second;
    let (id, _) = shim.start(&script("exit 2"));
    assert_eq!(shim.client.container_exit(&id).code, 2);
    shim.shut_down();
}

/// User and system time, in ticks of 10 ms.
fn cpu_ticks(shim: &TestShim) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", shim.pid.as_raw_nonzero())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_pod_with_its_own_network_hands_it_over_and_is_dialled_within() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::launch();
    let dial = shim.client.call(Request::Dial { port: 1 }).unwrap_err();
    assert_eq!(dial.class, Class::Refused, "before the pod is set up this would be the host");
    let plan = PodPlan { hostname: "pod".into(), pid: PidShare::Pod, shm_size_bytes: 1 << 20, ..PodPlan::default() };
    let (reply, descriptors) = shim.client.call(Request::SetUpPod(Box::new(plan.clone()))).unwrap();
    assert!(matches!(reply, Reply::PodReady));
    assert_eq!(descriptors.len(), 2);
    let namespace = |path: &str| std::fs::read_link(path).unwrap();
    let pods = namespace(&format!("/proc/{}/ns/net", shim.pid.as_raw_nonzero()));
    assert_ne!(pods, namespace("/proc/self/ns/net"));
    let handed = rustix::fs::fstat(&descriptors[1]).unwrap();
    assert_eq!(pods.to_str().unwrap(), format!("net:[{}]", handed.st_ino));

    // A listener of the host is not reached from within.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(shim.client.call(Request::Dial { port }).is_err());
    let again = shim.client.call(Request::SetUpPod(Box::new(plan))).unwrap_err();
    assert_eq!(again.class, Class::Refused);
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
