//! What a container sees of itself.

use serde_json::json;

use crate::world::{World, capabilities, mount};
use crate::{Test, tests};

pub const TESTS: &[Test] = tests![containers:
    a_container_runs_and_its_exit_code_is_told,
    a_container_has_the_mounts_of_its_specification,
    a_container_is_the_first_process_of_its_pid_namespace,
    a_container_has_no_descriptor_but_its_three,
    capabilities_limits_and_groups_are_those_of_the_specification,
    a_user_without_capabilities_has_none_and_owns_its_output,
    ambient_capabilities_survive_for_a_user,
    masked_paths_are_empty_and_protected_ones_read_only,
    the_working_directory_is_made_where_it_is_missing,
    a_read_only_root_is_read_only_and_its_volumes_are_not,
    default_devices_work_and_listed_ones_are_made,
    signals_and_umask_are_those_that_programs_expect,
    an_overlay_of_128_folders_is_a_root,
    a_sysctl_is_set_in_a_namespace_of_the_containers_own,
    a_container_with_a_filter_runs_and_is_refused_what_is_filtered,
    control_groups_are_the_containers_own_and_read_only,
    bind_mounts_are_private_unless_asked_and_follow_links_of_the_host,
    a_mapped_bind_mount_shows_mapped_owners,
    an_image_volume_is_an_overlay_of_folders_or_a_part_of_it,
    a_privileged_container_gets_what_the_machine_grants,
];

fn a_container_runs_and_its_exit_code_is_told() {
    let world = World::new();
    let output = world.run("echo out; echo err >&2; exit 3", |_| {});
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (3, "out\n", "err\n"));
    let output = world.run("kill -9 $$; sleep 10", |spec| {
        // The first process of a PID namespace cannot kill itself: in the pod's it is not the first.
        spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "pid");
    });
    assert_eq!(output.code, 137);
}

fn a_container_has_the_mounts_of_its_specification() {
    let world = World::new();
    let output = world.run("cat /proc/self/mountinfo", |_| {});
    let seen: Vec<(&str, &str, &str)> = output
        .stdout
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let kind = line.split(" - ").nth(1).unwrap().split(' ').next().unwrap();
            (fields[4], fields[5], kind)
        })
        .collect();
    for expected in [
        ("/proc", "rw,nosuid,nodev,noexec,relatime", "proc"),
        ("/dev", "rw,nosuid", "tmpfs"),
        ("/dev/pts", "rw,nosuid,noexec,relatime", "devpts"),
        ("/dev/mqueue", "rw,nosuid,nodev,noexec,relatime", "mqueue"),
        ("/sys", "ro,nosuid,nodev,noexec,relatime", "sysfs"),
        ("/dev/shm", "rw,nosuid,nodev,noexec,relatime", "tmpfs"),
    ] {
        assert!(seen.contains(&expected), "{expected:?} in\n{}", output.stdout);
    }
    assert_eq!(seen.iter().filter(|(at, ..)| *at == "/").count(), 1, "{}", output.stdout);
    assert!(!output.stdout.contains("shared:") && !output.stdout.contains("master:"), "{}", output.stdout);
}

fn a_container_is_the_first_process_of_its_pid_namespace() {
    let world = World::new();
    let output = world.run("echo $$; hostname; ls -d /proc/[0-9]*; cat /proc/self/cgroup", |_| {});
    let mut lines = output.stdout.lines();
    assert_eq!((lines.next(), lines.next()), (Some("1"), Some("pod")));
    assert!(lines.next().unwrap().starts_with("/proc/1"));
    let groups: Vec<&str> = output.stdout.lines().filter(|line| line.contains(':')).collect();
    assert!(groups.iter().all(|line| line.ends_with(":/")), "{groups:?}");
}

fn a_container_has_no_descriptor_but_its_three() {
    let world = World::new();
    let output = world.run("exec ls -l /proc/self/fd", |_| {});
    let numbers = output.stdout.lines().filter_map(|line| line.split_whitespace().nth(8));
    // ls itself has the folder open.
    assert!(numbers.eq(["0", "1", "2", "3"]), "{}", output.stdout);
    assert!(output.stdout.lines().last().unwrap().contains("3 -> /proc/"), "{}", output.stdout);
}

fn capabilities_limits_and_groups_are_those_of_the_specification() {
    let world = World::new();
    let output = world.run("cat /proc/self/status /proc/self/limits; id; cat /proc/self/oom_score_adj", |spec| {
        spec["process"]["user"] = json!({ "uid": 0, "gid": 7, "additionalGids": [8, 9] });
        spec["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ]);
        spec["process"]["oomScoreAdj"] = json!(500);
    });
    let text = &output.stdout;
    // CHOWN is 0, KILL 5, NET_BIND_SERVICE 10.
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd"] {
        assert!(text.contains(&format!("{set}:\t0000000000000421")), "{set}: {text}");
    }
    assert!(text.contains("CapAmb:\t0000000000000000") && text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(text.contains("uid=0(root) gid=7 groups=7,8,9"), "{text}");
    assert!(text.lines().any(|line| line.split_whitespace().eq(["Max", "open", "files", "100", "200", "files"])));
    assert!(text.ends_with("\n500\n"), "{text}");
}

fn a_user_without_capabilities_has_none_and_owns_its_output() {
    let world = World::new();
    let output = world.run("id; grep Cap /proc/self/status; echo by name > /dev/stdout; echo x > /nope", |spec| {
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        spec["process"]["capabilities"] = capabilities(&["CAP_CHOWN"]);
    });
    let text = &output.stdout;
    assert!(text.contains("uid=1000 gid=1000 groups=1000"), "{text}");
    // Permitted is what the specification said: the user was changed with capabilities kept, then they were set. The
    // execve of a user's program without ambient capabilities takes permitted and effective away.
    assert!(text.contains("CapPrm:\t0000000000000000") && text.contains("CapEff:\t0000000000000000"), "{text}");
    assert!(text.contains("CapBnd:\t0000000000000001"), "{text}");
    assert!(text.contains("by name\n"), "{text}");
    assert!(output.stderr.contains("Permission denied"), "{}", output.stderr);
}

fn ambient_capabilities_survive_for_a_user() {
    let world = World::new();
    let output = world.run("grep Cap /proc/self/status", |spec| {
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        spec["process"]["capabilities"] = capabilities(&["CAP_NET_BIND_SERVICE"]);
        spec["process"]["capabilities"]["ambient"] = json!(["CAP_NET_BIND_SERVICE"]);
    });
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(output.stdout.contains(&format!("{set}:\t0000000000000400")), "{}", output.stdout);
    }
}

fn masked_paths_are_empty_and_protected_ones_read_only() {
    let world = World::new();
    std::fs::create_dir(world.root().join("hidden")).unwrap();
    std::fs::write(world.root().join("hidden/file"), "secret").unwrap();
    let script = "cat /proc/meminfo | wc -c; ls -A /hidden /sys/firmware | grep -v :; echo x > /hidden/x; \
        echo 1 > /proc/sys/net/ipv4/ip_forward; echo x > /etc/x";
    let output = world.run(script, |spec| {
        spec["process"]["capabilities"] = capabilities(&["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
        spec["linux"]["maskedPaths"] = json!(["/proc/meminfo", "/hidden", "/sys/firmware", "/missing/x"]);
        spec["linux"]["readonlyPaths"] = json!(["/proc/sys", "/etc", "/missing/x"]);
    });
    assert_eq!(output.stdout.trim(), "0", "{}", output.stdout);
    assert_eq!(output.stderr.matches("Read-only file system").count(), 3, "{}", output.stderr);
}

fn the_working_directory_is_made_where_it_is_missing() {
    let world = World::new();
    let output = world.run("pwd; stat -c '%a %u' .", |spec| spec["process"]["cwd"] = json!("/a/b c"));
    assert_eq!(output.stdout, "/a/b c\n755 0\n");
    assert!(world.root().join("a/b c").is_dir());
}

fn a_read_only_root_is_read_only_and_its_volumes_are_not() {
    let world = World::new();
    let volume = world.folder.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let output = world.run("echo x > /etc/x; echo y > /data/y; echo z > /fixed/z; pwd", |spec| {
        spec["root"]["readonly"] = json!(true);
        spec["process"]["cwd"] = json!("/work");
        mount(spec, json!({ "destination": "/data", "source": volume, "options": ["bind"] }));
        mount(spec, json!({ "destination": "/fixed", "source": volume, "options": ["rbind", "ro"] }));
    });
    assert_eq!(output.stderr.matches("Read-only file system").count(), 2, "{}", output.stderr);
    assert_eq!(output.stdout, "/work\n");
    assert!(volume.join("y").exists() && !volume.join("z").exists());
}

fn default_devices_work_and_listed_ones_are_made() {
    let world = World::new();
    let script = "echo gone > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; head -c 1 /dev/zero > /dev/full; \
        stat -c '%n %a %u:%g %t:%T' /dev/null /dev/mine /dev/fifo; readlink /dev/ptmx /dev/fd";
    let output = world.run(script, |spec| {
        spec["linux"]["devices"] = json!([
            { "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 384, "uid": 5, "gid": 6 },
            { "path": "/dev/fifo", "type": "p", "fileMode": 438 },
        ]);
    });
    assert_eq!(
        output.stdout,
        "3\n3\n/dev/null 666 0:0 1:3\n/dev/mine 600 5:6 1:5\n/dev/fifo 666 0:0 0:0\npts/ptmx\n/proc/self/fd\n"
    );
    assert!(output.stderr.contains("No space left on device"), "{}", output.stderr);
}

fn signals_and_umask_are_those_that_programs_expect() {
    let world = World::new();
    let output = world.run("exec cat /proc/self/status", |_| {});
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(output.stdout.contains(&format!("{set}:\t0000000000000000")), "{}", output.stdout);
    }
    let output = world.run("umask; cut -d' ' -f6 /proc/1/stat", |spec| {
        spec["process"]["user"]["umask"] = json!(0o077);
    });
    assert_eq!(output.stdout, "0077\n1\n");
}

fn an_overlay_of_128_folders_is_a_root() {
    let world = World::new();
    // A path too long for one option of fsconfig(2) takes the way of kernels before 6.7, the page of mount(2).
    let long = ["l".repeat(200), "l".repeat(100)].iter().collect::<std::path::PathBuf>();
    for layers in [world.folder.path().join("layers"), world.folder.path().join(long)] {
        overlay_of_128_folders(&world, &layers);
    }
}

fn overlay_of_128_folders(world: &World, layers: &std::path::Path) {
    use cradle_executor::plan::Rootfs;
    let folder = |name: &str| {
        let path = layers.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let mut lower: Vec<_> = (0..127).map(|number| folder(&number.to_string())).collect();
    for (number, layer) in lower.iter().enumerate() {
        std::fs::write(layer.join(format!("file-{number}")), number.to_string()).unwrap();
        std::fs::write(layer.join("same"), number.to_string()).unwrap();
    }
    // The programs lie elsewhere: the page has room for what the folders have in common once.
    lower.push(folder("root"));
    crate::world::make_root(&layers.join("root"));
    let (upper, work) = (folder("upper"), folder("work"));
    let plan = world.plan_in(
        &world.spec("ls / | grep -c file; cat /same; echo new > /new; rm /file-5; ls / | grep -c file", |_| {}),
        Rootfs::Overlay { lower, upper: upper.clone(), work: work.clone() },
    );
    let output = world.run_plan(&plan);
    assert_eq!(output.stdout, "127\n0126\n", "{}", output.stderr);
    assert_eq!(std::fs::read_to_string(upper.join("new")).unwrap(), "new\n");
    // Its end waits for no disk, and yet it can be mounted once more, as by a start that is repeated.
    assert!(work.join("work/incompat/volatile").exists());
    let again = world.run_plan(&plan);
    assert_eq!(again.stdout, "126\n0126\n", "{}", again.stderr);
}

fn a_sysctl_is_set_in_a_namespace_of_the_containers_own() {
    let world = World::new();
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let output = world.run(
        "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax; hostname; ls -d /sys/class/net/lo",
        |spec| {
            for namespace in spec["linux"]["namespaces"].as_array_mut().unwrap() {
                namespace.as_object_mut().unwrap().remove("path");
            }
            spec["hostname"] = json!("mine");
            spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "77", "kernel.msgmax": "5000" });
        },
    );
    assert_eq!(output.stdout, "77\n5000\nmine\n/sys/class/net/lo\n", "{}", output.stderr);
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap(), before);
}

fn a_container_with_a_filter_runs_and_is_refused_what_is_filtered() {
    let world = World::new();
    for no_new_privileges in [true, false] {
        let output = world.run(
            "mkdir /x && echo made; chmod 777 /etc || echo refused; grep Seccomp: /proc/self/status",
            |spec| {
                spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
                spec["linux"]["seccomp"] = json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{ "names": ["fchmodat", "fchmodat2", "chmod"], "action": "SCMP_ACT_ERRNO" }],
                });
            },
        );
        assert_eq!(output.stdout, "made\nrefused\nSeccomp:\t2\n", "{}", output.stderr);
        std::fs::remove_dir(world.root().join("x")).unwrap();
    }
}

fn control_groups_are_the_containers_own_and_read_only() {
    let world = World::new();
    let v2 = world.facts.layout.is_v2();
    let (tree, limit) = if v2 { ("", "memory.max") } else { ("/memory", "memory.limit_in_bytes") };
    let script =
        format!("cd /sys/fs/cgroup{tree}; cat {limit}; head -1 cgroup.procs; mkdir x; echo 1 > {limit}; mkdir ../x");
    let output = world.run(&script, |spec| {
        spec["process"]["capabilities"] = capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
        spec["linux"]["resources"] = json!({ "memory": { "limit": 67108864 } });
    });
    assert!(output.stdout.starts_with("67108864\n1\n"), "{} {}", output.stdout, output.stderr);
    // Above the only tree of v2 lies sysfs, which has no place for folders.
    let refused = output.stderr.matches("Read-only file system").count();
    assert_eq!(refused, 3, "{}", output.stderr);
}

fn bind_mounts_are_private_unless_asked_and_follow_links_of_the_host() {
    use rustix::mount::{MountPropagationFlags, mount_change};
    let world = World::new();
    let shared = world.folder.path().join("shared");
    std::fs::create_dir_all(shared.join("real")).unwrap();
    std::fs::write(shared.join("real/file"), "content").unwrap();
    std::os::unix::fs::symlink("real", shared.join("link")).unwrap();
    // In a mount namespace of the test's own, a shared mount to propagate from and to.
    cradle_sys::namespace::unshare(cradle_sys::namespace::Kinds::MOUNT, &world.single).unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    rustix::mount::mount_bind(&shared, &shared).unwrap();
    mount_change(&shared, MountPropagationFlags::SHARED).unwrap();
    let output =
        world.run("cat /link/file /one-file; grep -E ' /(link|private|slave|shared) ' /proc/self/mountinfo", |spec| {
            mount(spec, json!({ "destination": "/link", "source": shared.join("link"), "options": ["rbind"] }));
            mount(
                spec,
                json!({ "destination": "/one-file", "source": shared.join("link/file"), "options": ["bind", "ro"] }),
            );
            mount(spec, json!({ "destination": "/private", "source": shared, "options": ["rbind", "rprivate"] }));
            mount(spec, json!({ "destination": "/slave", "source": shared, "options": ["rbind", "rslave"] }));
            mount(spec, json!({ "destination": "/shared", "source": shared, "options": ["rbind", "rshared"] }));
        });
    assert!(output.stdout.starts_with("contentcontent"), "{} {}", output.stdout, output.stderr);
    let line = |at: &str| output.stdout.lines().find(|line| line.contains(at)).unwrap();
    assert!(!line(" /link ").contains("shared:") && !line(" /private ").contains("shared:"), "{}", output.stdout);
    assert!(line(" /slave ").contains("master:") && !line(" /slave ").contains("shared:"), "{}", output.stdout);
    assert!(line(" /shared ").contains("shared:"), "{}", output.stdout);
    mount_change(&shared, MountPropagationFlags::PRIVATE).unwrap();
    let text = world.refusal("true", |spec| {
        mount(spec, json!({ "destination": "/shared", "source": shared, "options": ["rbind", "rshared"] }));
    });
    assert!(text.ends_with("for /shared: it is not on a shared mount"), "{text}");
}

fn a_mapped_bind_mount_shows_mapped_owners() {
    let world = World::new();
    let volume = world.folder.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "").unwrap();
    rustix::fs::chown(
        volume.join("file"),
        Some(rustix::fs::Uid::from_raw(1000)),
        Some(rustix::fs::Gid::from_raw(1001)),
    )
    .unwrap();
    let output = world.run("stat -c '%u:%g' /data/file", |spec| {
        let map = |size| json!([{ "containerID": 1000, "hostID": 5000, "size": size }]);
        mount(
            spec,
            json!({ "destination": "/data", "source": volume, "options": ["bind"],
            "uidMappings": map(1), "gidMappings": map(2) }),
        );
    });
    assert_eq!(output.stdout, "5000:5001\n", "{}", output.stderr);
}

fn an_image_volume_is_an_overlay_of_folders_or_a_part_of_it() {
    let world = World::new();
    let folder = |name: &str| {
        let path = world.folder.path().join(name);
        std::fs::create_dir_all(path.join("sub")).unwrap();
        std::fs::write(path.join("sub").join(name), name).unwrap();
        std::os::unix::fs::symlink("/sub", path.join("link")).unwrap();
        std::os::unix::fs::symlink("/../../../../../../etc", path.join("escape")).unwrap();
        path.display().to_string()
    };
    let (one, two) = (folder("one"), folder("two"));
    let both = json!([format!("lowerdir={one}:{two}"), "ro"]);
    let volume = |at: &str, lower: &[&String], sub_path: &str| {
        let mut options: Vec<String> = lower.iter().map(|folder| format!("lowerdir+={folder}")).collect();
        options.extend(["ro".into(), format!("cradle.sub-path={sub_path}")]);
        json!({ "destination": at, "type": "overlay", "source": "overlay", "options": options })
    };
    let script = "cd /volumes; ls all/sub part single; cat file; touch all/x part/x single/x; ls /volumes";
    let output = world.run(script, |spec| {
        mount(spec, json!({ "destination": "/volumes/all", "type": "overlay", "source": "overlay", "options": both }));
        mount(spec, volume("/volumes/part", &[&one, &two], "link"));
        mount(spec, volume("/volumes/single", &[&one], "sub"));
        mount(spec, volume("/volumes/file", &[&one, &two], "sub/two"));
    });
    let expected = "all/sub:\none\ntwo\n\npart:\none\ntwo\n\nsingle:\none\ntwoall\nfile\npart\nsingle\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    assert_eq!(output.stderr.matches("Read-only file system").count(), 3, "{}", output.stderr);
    for (lower, path) in [(vec![&one, &two], "missing"), (vec![&one], "missing"), (vec![&one, &two], "escape")] {
        let text = world.refusal("true", |spec| mount(spec, volume("/x", &lower, path)));
        assert!(text.ends_with(&format!("sub path {path}: No such file or directory")), "{text}");
    }
}

fn a_privileged_container_gets_what_the_machine_grants() {
    let world = World::new();
    let all: Vec<String> = cradle_executor::plan::capabilities::CapabilitySet::all().names();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let output = world.run("grep CapEff /proc/self/status; mount -t tmpfs tmpfs /tmp && echo mounted", |spec| {
        spec["process"]["capabilities"] = capabilities(&all);
        spec["process"]["noNewPrivileges"] = json!(false);
        spec["process"]["oomScoreAdj"] = json!(-999);
        spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 4000000, "hard": 4000000 }]);
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
    });
    let granted = format!("CapEff:\t{:016x}\nmounted\n", world.facts.capabilities.0);
    assert_eq!(output.stdout, granted, "{}", output.stderr);
}
