//! What containers write: logs, terminals and clients that attach.

use super::*;

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
fn the_two_streams_are_in_the_order_of_their_writes_from_the_first_line_on() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let lines = "i=0; while [ $i -lt 4000 ]; do echo $i; echo $((i + 1)) >&2; i=$((i + 2)); done";
    let (id, _) = shim.start_logged(lines, "log");
    assert_eq!(shim.client.container_exit(&id).code, 0);
    let expected = (0..4000).map(|n| format!("{} F {n}", if n % 2 == 0 { "stdout" } else { "stderr" }));
    let wrong = expected.zip(shim.log_lines("log")).filter(|(expected, line)| expected != line).count();
    // A writer that is stopped between its write and the telling of it.
    assert!(wrong <= 4, "{wrong} lines are not in their place");
    assert_eq!(shim.log_lines("log").len(), 4000);
    shim.shut_down();
}

#[test]
fn nothing_waits_for_the_next_write() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let many = "seq 1 20000; seq 1 20000 >&2; i=0; while [ $i -lt 2000 ]; do echo $i; echo $i >&2; i=$((i + 1)); done";
    let (id, _) = shim.start_logged(&format!("{many}; printf 'a\\nb\\nc\\nd\\n'; sleep 1000"), "log");
    eventually("all lines", || shim.log_lines("log").len() == 44_004);
    shim.client.done(Request::KillContainer { container: id });
    shim.shut_down();
}

#[test]
fn nothing_is_lost_when_more_is_written_than_the_kernel_tells() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let own = std::fs::read_to_string(format!("/proc/{}/limits", shim.pid.as_raw_nonzero())).unwrap();
    let soft = |limits: &str, word: usize| {
        let line = limits.lines().find(|line| line.contains("pending signals")).unwrap();
        line.split_whitespace().nth(word).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(soft(&own, 3), cradle_shim::limits::WRITES_PENDING_MAX as u64);
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(soft(&own, 4)) };
    rustix::process::prlimit(Some(shim.pid), rustix::process::Resource::Sigpending, none).unwrap();

    // What is written first may be told before the shim knows that the program runs.
    for n in 0..50 {
        let (id, _) = shim.start_logged("echo early; sleep 1000", &format!("early-{n}"));
        eventually("the first line", || shim.log_lines(&format!("early-{n}")) == ["stdout F early"]);
        shim.client.done(Request::KillContainer { container: id.clone() });
        assert_eq!(shim.client.container_exit(&id).code, 137);
    }

    let lines = "i=0; while [ $i -lt 4000 ]; do echo $i; echo $i >&2; i=$((i + 1)); done; cat /proc/self/limits";
    let (id, _) = shim.start_logged(lines, "log");
    assert_eq!(shim.client.container_exit(&id).code, 0);
    let log = shim.log_lines("log");
    for stream in ["stdout", "stderr"] {
        let found: Vec<_> = log.iter().filter(|line| line.starts_with(stream)).take(4000).cloned().collect();
        assert_eq!(found, (0..4000).map(|n| format!("{stream} F {n}")).collect::<Vec<_>>());
    }
    let limits: Vec<_> = log.iter().filter_map(|line| line.strip_prefix("stdout F ")).collect();
    let limits = limits.join("\n");
    assert_eq!(soft(&limits, 3), soft(&limits, 4), "the program has what the machine grants");
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
