//! Further processes in a running container.

use std::io::Read;
use std::os::fd::OwnedFd;

use cradle_executor::run::{self, Stdio};
use serde_json::json;

use crate::world::{Output, World, capabilities, pipes, reap, write};
use crate::{Test, tests};

pub const TESTS: &[Test] = tests![execs:
    an_exec_is_in_the_namespaces_and_groups_of_the_container,
    an_exec_has_its_own_user_and_no_more_than_it_was_given,
    an_exec_plan_is_reused_for_other_commands,
    an_exec_with_a_terminal_is_the_leader_of_its_session,
    a_container_with_a_terminal_has_a_console,
    an_exec_of_an_exited_container_is_refused,
    an_exec_without_its_program_or_folder_is_refused,
    an_exec_in_the_pods_pid_namespace_sees_the_pod,
];

fn an_exec_is_in_the_namespaces_and_groups_of_the_container() {
    let world = World::new();
    let running = world.start(|_| {});
    let links = "for kind in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$kind; done; cat /proc/self/cgroup";
    let output = running.exec(&world, &format!("{links}; readlink /proc/self/cwd; ls -d /proc/[0-9]*"), |_| {});
    let own = |kind: &str| std::fs::read_link(format!("/proc/{}/ns/{kind}", running.started.pid)).unwrap();
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        assert!(output.stdout.contains(&own(kind).display().to_string()), "{kind}: {}", output.stdout);
    }
    let controllers: Vec<&str> = output
        .stdout
        .lines()
        .filter(|line| line.contains(':') && !line.contains('[') && !line.starts_with("0:"))
        .collect();
    assert!(controllers.iter().all(|line| line.ends_with(":/")), "{controllers:?}");
    assert!(output.stdout.contains("/proc/1\n"), "{}", output.stdout);
    let Output { code, .. } = running.stop();
    assert_eq!(code, 7);
}

fn an_exec_has_its_own_user_and_no_more_than_it_was_given() {
    let world = World::new();
    let running = world.start(|_| {});
    let output = running.exec(
        &world,
        "id; pwd; grep -E 'Cap|NoNew|SigIgn|SigBlk' /proc/self/status; ls /proc/self/fd | wc -l",
        |process| {
            process["user"] = json!({ "uid": 0, "gid": 3, "additionalGids": [4] });
            process["cwd"] = json!("/etc");
            process["capabilities"] = capabilities(&["CAP_KILL"]);
        },
    );
    assert!(output.stdout.starts_with("uid=0(root) gid=3 groups=3,4\n/etc\n"), "{} {}", output.stdout, output.stderr);
    assert!(output.stdout.contains("CapEff:\t0000000000000020") && output.stdout.contains("CapBnd:\t0000000000000020"));
    assert!(output.stdout.contains("NoNewPrivs:\t1"), "{}", output.stdout);
    // ls itself has the folder open.
    assert!(output.stdout.ends_with("\n4\n"), "{}", output.stdout);
    running.stop();
}

fn an_exec_plan_is_reused_for_other_commands() {
    let world = World::new();
    let running = world.start(|_| {});
    let prepared = running.exec_plan(&world, "exit 1", |_| {});
    for (number, word) in ["one", "two"].into_iter().enumerate() {
        let plan = prepared.with_command(&["echo".into(), word.into()], false).unwrap();
        let (stdio, pipes) = pipes();
        let started = run::exec(&plan, running.container(), &format!("e{number}"), stdio, &world.single).unwrap();
        assert_eq!(crate::world::finish(started, pipes).stdout, format!("{word}\n"));
    }
    running.stop();
}

fn an_exec_with_a_terminal_is_the_leader_of_its_session() {
    let world = World::new();
    let running = world.start(|_| {});
    let plan = running.exec_plan(
        &world,
        "stty -echo; tty; stty size; test -t 0 && test -t 2 && echo tty; read line; echo got $line",
        |process| {
            process["terminal"] = json!(true);
        },
    );
    let stdio = Stdio::Terminal { columns: 90, rows: 30 };
    let mut started = run::exec(&plan, running.container(), "e", stdio, &world.single).unwrap();
    let master = started.terminal_master.take().unwrap();
    write(&master, "word\n");
    let text = read_terminal(master);
    let code = reap(&started);
    started.cgroup.remove().unwrap();
    assert!(text.contains("/dev/pts/0\r\n30 90\r\ntty\r\n") && text.contains("got word"), "{text:?}");
    assert_eq!(code, 0);
    running.stop();
}

fn a_container_with_a_terminal_has_a_console() {
    let world = World::new();
    let script = "tty; echo by console > /dev/console; echo by tty > /dev/tty; stat -c '%u' /dev/pts/0; exit 5";
    let plan = world.plan(&world.spec(script, |spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 5 });
    }));
    let stdio = Stdio::Terminal { columns: 80, rows: 24 };
    let mut started = run::start(&plan, &world.pod, stdio, &world.single).unwrap();
    let text = read_terminal(started.terminal_master.take().unwrap());
    let (_, pipes) = pipes();
    assert_eq!(crate::world::finish(started, pipes).code, 5);
    assert_eq!(text, "/dev/pts/0\r\nby console\r\nby tty\r\n1000\r\n");
}

fn an_exec_of_an_exited_container_is_refused() {
    let world = World::new();
    let running = world.start(|_| {});
    let plan = running.exec_plan(&world, "true", |_| {});
    rustix::process::pidfd_send_signal(&running.started.pidfd, rustix::process::Signal::KILL).unwrap();
    let cgroup_of = running.container();
    rustix::event::poll(&mut [rustix::event::PollFd::new(&running.started.pidfd, rustix::event::PollFlags::IN)], None)
        .unwrap();
    let error = run::exec(&plan, cgroup_of, "e", pipes().0, &world.single).unwrap_err();
    assert_eq!(error.to_string(), "the container has exited");
    assert_eq!(running.stop().code, 137);
}

fn an_exec_without_its_program_or_folder_is_refused() {
    let world = World::new();
    let running = world.start(|_| {});
    let plan = running.exec_plan(&world, "", |process| process["args"] = json!(["nope"]));
    let error = run::exec(&plan, running.container(), "e", pipes().0, &world.single).unwrap_err();
    assert_eq!(error.to_string(), "exec: \"nope\": executable file not found in $PATH");
    let plan = running.exec_plan(&world, "true", |process| process["cwd"] = json!("/missing"));
    let error = run::exec(&plan, running.container(), "e", pipes().0, &world.single).unwrap_err();
    assert_eq!(cradle_domain::failure::Chain(&error).to_string(), "change to /missing: No such file or directory");
    running.stop();
}

fn an_exec_in_the_pods_pid_namespace_sees_the_pod() {
    use cradle_executor::pod::{PidShare, PodPlan};
    let world = World::with_pod(&PodPlan { pid: PidShare::Pod, ..PodPlan::default() });
    let shared = |spec: &mut serde_json::Value| {
        for namespace in spec["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "pid" {
                namespace["path"] = json!("/cradle.pod");
            }
        }
    };
    let running = world.start(shared);
    let names = "for p in /proc/[0-9]*; do cat $p/comm; done | sort -u | tr '\\n' ' '";
    let output = running.exec(&world, names, |_| {});
    assert!(output.stdout.contains("cradle-init") && output.stdout.contains("cat"), "{}", output.stdout);
    let other = world.run(names, shared);
    assert!(other.stdout.contains("cradle-init") && other.stdout.contains("cat"), "{}", other.stdout);
    // An orphan is reaped by the init: a shell that leaves one behind, and then no zombie.
    let orphan = "(sleep 0.05 &) ; until [ -z \"$(cat /proc/[0-9]*/comm 2>/dev/null | grep -x sleep)\" ]; do sleep 0.01; done; \
        sleep 0.1; grep -l 'State:.Z' /proc/[0-9]*/status; echo done";
    assert_eq!(running.exec(&world, orphan, |_| {}).stdout, "done\n");
    running.stop();
}

/// What comes from a terminal until all its users are gone (EIO).
fn read_terminal(master: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut file = std::fs::File::from(master);
    let mut buffer = [0; 4096];
    while let Ok(read) = file.read(&mut buffer) {
        if read == 0 {
            break;
        }
        text.extend(&buffer[..read]);
    }
    String::from_utf8(text).unwrap()
}
