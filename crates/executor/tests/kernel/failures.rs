//! What cannot start says why, and leaves nothing.

use std::os::fd::AsFd;

use cradle_executor::run;
use serde_json::json;

use crate::world::{World, mount, pipes};
use crate::{Test, tests};

pub const TESTS: &[Test] = tests![failures:
    a_missing_program_is_named,
    a_missing_bind_source_is_named,
    a_program_that_is_none_is_named,
    a_file_system_option_that_the_kernel_does_not_know_is_named,
    a_folder_cannot_be_mounted_on_a_file,
    a_missing_layer_is_named,
    a_namespace_that_is_gone_is_named,
    a_container_dies_with_its_shim,
    a_plan_for_a_terminal_needs_one,
    a_failed_start_leaves_no_group_and_no_process,
];

fn a_missing_program_is_named() {
    let world = World::new();
    for (name, text) in [
        ("foo", "exec: \"foo\": executable file not found in $PATH"),
        ("/foo", "exec: \"/foo\": stat /foo: no such file or directory"),
        ("/etc", "exec: \"/etc\": is a directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        assert_eq!(world.refusal("", |spec| spec["process"]["args"] = json!([name])), text);
    }
}

fn a_missing_bind_source_is_named() {
    let world = World::new();
    let text = world.refusal("true", |spec| {
        mount(spec, json!({ "destination": "/data", "source": "/nonexistent/x", "options": ["rbind"] }));
    });
    assert_eq!(
        text,
        "open the sources of the bind mounts: bind source /nonexistent/x for /data: No such file or directory"
    );
}

fn a_program_that_is_none_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    for (content, text) in [
        ("nonsense", "exec /bad: exec format error: is it a program for this machine?"),
        (
            "#!/nonexistent\n",
            "exec /bad: no such file or directory: is the interpreter or loader that it names in the image?",
        ),
    ] {
        let path = world.root().join("bad");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(world.refusal("", |spec| spec["process"]["args"] = json!(["/bad"])), text);
    }
}

fn a_file_system_option_that_the_kernel_does_not_know_is_named() {
    let world = World::new();
    let text = world.refusal("true", |spec| {
        mount(spec, json!({ "destination": "/x", "type": "tmpfs", "options": ["nonsense=1"] }));
    });
    assert_eq!(text, "mount /x: tmpfs, nonsense=1: tmpfs: Unknown parameter 'nonsense': Invalid argument");
    let text = world.refusal("true", |spec| mount(spec, json!({ "destination": "/x", "type": "nonsense" })));
    assert_eq!(text, "mount /x: nonsense: the file system \"nonsense\": No such device");
}

fn a_folder_cannot_be_mounted_on_a_file() {
    let world = World::new();
    let text = world.refusal("true", |spec| {
        mount(spec, json!({ "destination": "/etc/passwd", "source": "/tmp", "options": ["bind"] }));
    });
    assert_eq!(text, "mount /etc/passwd: bind /tmp: Not a directory");
}

fn a_missing_layer_is_named() {
    use cradle_executor::plan::Rootfs;
    let world = World::new();
    let folder = |name: &str| {
        let path = world.folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let lower = vec![world.root(), world.folder.path().join("missing")];
    let rootfs = Rootfs::Overlay { lower, upper: folder("upper"), work: folder("work") };
    let plan = world.plan_in(&world.spec("true", |_| {}), rootfs);
    let error = run::start(&plan, &world.pod, pipes().0, &world.single).unwrap_err();
    let text = cradle_domain::failure::Chain(&error).to_string();
    assert!(text.contains("missing") && text.ends_with("No such file or directory"), "{text}");
}

fn a_namespace_that_is_gone_is_named() {
    let world = World::new();
    let text = world.refusal("true", |spec| {
        spec["linux"]["namespaces"][1] = json!({ "type": "pid", "path": "/proc/999999999/ns/pid" });
    });
    assert_eq!(text, "opening the PID namespace /proc/999999999/ns/pid: No such file or directory");
}

fn a_container_dies_with_its_shim() {
    use cradle_sys::process::{self, Cloned, NewNamespaces};
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let world = World::new();
    let plan = world.plan(&world.spec("", |spec| {
        spec["process"]["args"] = json!(["sleep", "1000"]);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    }));
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    match process::clone(NewNamespaces::default(), None, &world.single).unwrap() {
        Cloned::Child => {
            // The shim: it starts a container that never ends, as a user, and waits to be killed.
            let started = run::start(&plan, &world.pod, pipes().0, &world.single).unwrap();
            process::block_signals().unwrap();
            rustix::io::write(&writer, &started.pid.to_ne_bytes()).unwrap();
            loop {
                let _ = process::wait_for_signal();
            }
        }
        Cloned::Parent { pidfd, .. } => {
            drop(writer);
            let mut pid = [0; 4];
            assert_eq!(rustix::io::read(&reader, &mut pid), Ok(4));
            let pid = rustix::process::Pid::from_raw(i32::from_ne_bytes(pid)).unwrap();
            let container = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
            rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
            waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
            let timeout = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            let mut fds = [rustix::event::PollFd::new(&container, rustix::event::PollFlags::IN)];
            assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(1), "the container lives on");
            waitid(WaitId::PidFd(container.as_fd()), WaitIdOptions::EXITED).unwrap();
            cradle_executor::cgroup::Cgroup::open(&plan.cgroup.path, &plan.layout).unwrap().remove().unwrap();
            crate::world::remove_groups();
        }
    }
}

fn a_plan_for_a_terminal_needs_one() {
    let world = World::new();
    let text = world.refusal("true", |spec| spec["process"]["terminal"] = json!(true));
    assert_eq!(text, "the plan and the pod disagree about a terminal");
}

fn a_failed_start_leaves_no_group_and_no_process() {
    let world = World::new();
    let spec = world.spec("true", |spec| spec["process"]["args"] = json!(["nope"]));
    let plan = world.plan(&spec);
    run::start(&plan, &world.pod, pipes().0, &world.single).unwrap_err();
    let path = plan.cgroup.path.trim_start_matches('/');
    for tree in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!tree.path().join(path).exists(), "{:?}", tree.path());
    }
    crate::world::assert_no_children();
}
