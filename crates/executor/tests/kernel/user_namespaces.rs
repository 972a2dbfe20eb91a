//! Pods with a user namespace of their own: root inside is nobody special outside.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use cradle_domain::failure::Chain;
use cradle_executor::plan::{IdMapping, IdRange, ImageOwners, PlanError, Rootfs};
use cradle_executor::pod::{PidShare, PodPlan, Share};
use cradle_executor::run::probe::Layers;
use cradle_executor::run::{self, Stdio};
use serde_json::{Value, json};

use crate::world::{World, capabilities, make_root, mount, pipes, reap};
use crate::{Test, tests};

pub const TESTS: &[Test] = tests![user_namespaces:
    root_of_the_container_is_a_mapped_user_of_the_host,
    files_of_the_image_are_roots_inside_and_copies_of_them_the_mapped_users,
    a_volume_of_an_image_is_roots_inside,
    a_copy_with_shifted_owners_looks_as_the_image,
    a_mapped_volume_keeps_its_owners_and_another_one_is_nobodys,
    shared_memory_queues_and_settings_of_the_pod_are_its_roots,
    standard_streams_can_be_opened_by_name,
    devices_work_and_none_can_be_made,
    no_capability_reaches_beyond_the_user_namespace,
    the_hosts_tree_is_gone_even_for_root_of_a_user_namespace,
    execs_enter_the_user_namespace,
    terminals_belong_to_the_user_of_the_container,
    a_pid_namespace_of_the_pod_belongs_to_the_user_namespace,
    a_pod_with_the_hosts_network_can_have_a_user_namespace,
    namespaces_of_a_containers_own_belong_to_the_user_namespace,
    a_namespace_of_one_user_is_enough_for_root,
    an_id_that_is_not_mapped_is_refused,
    a_plan_for_another_user_namespace_is_refused,
    a_failed_start_says_why_and_leaves_nothing,
    this_machine_is_found_able,
    starts_in_a_user_namespace_are_measured,
];

const OUTSIDE: u32 = 200_000;

fn mapping(length: u32) -> IdMapping {
    let range = |outside| vec![IdRange { inside: 0, outside, length }];
    IdMapping { uids: range(OUTSIDE), gids: range(OUTSIDE + 1) }
}

fn pod(pid: PidShare, length: u32) -> PodPlan {
    let user = Some(mapping(length));
    PodPlan { hostname: "pod".into(), shm_size_bytes: 1 << 20, pid, user, ..PodPlan::default() }
}

fn world() -> World {
    World::with_pod(&pod(PidShare::Container, 65536))
}

fn inside_of(length: u32) -> impl Fn(&mut Value) {
    move |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({ "type": "user", "path": "/cradle.pod" }));
        spec["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": OUTSIDE, "size": length }]);
        spec["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": OUTSIDE + 1, "size": length }]);
    }
}

fn inside(spec: &mut Value) {
    inside_of(65536)(spec);
}

/// The layers of a root file system, owned by the host's root, and a writable one, owned by the container's.
fn layers(world: &World) -> (Rootfs, PathBuf) {
    let folder = |name: &str| {
        let path = world.folder.path().join("layers").join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let (top, bottom, upper, work) = (folder("top"), folder("bottom"), folder("upper"), folder("work"));
    make_root(&bottom);
    std::fs::write(top.join("etc-of-the-top"), "top").unwrap();
    std::fs::write(bottom.join("etc/file"), "bottom").unwrap();
    std::fs::create_dir_all(bottom.join("home")).unwrap();
    chown(bottom.join("home"), Some(1000), Some(1000)).unwrap();
    chown(&upper, Some(OUTSIDE), Some(OUTSIDE + 1)).unwrap();
    (Rootfs::Overlay { lower: vec![top, bottom], upper: upper.clone(), work }, upper)
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

fn root_of_the_container_is_a_mapped_user_of_the_host() {
    let world = world();
    let (rootfs, upper) = layers(&world);
    let script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /new; mkdir -p /a/b; pwd; hostname; echo $$; \
        cat /sys/class/net/lo/flags; cut -d' ' -f1 /proc/self/cgroup | grep -vc ':/$'; id";
    let spec = world.spec(script, |spec| {
        inside(spec);
        spec["process"]["cwd"] = json!("/made/for it");
    });
    let output = world.run_plan(&world.plan_in(&spec, rootfs.clone()));
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    let expected = "0 0 200000 65536 0 200001 65536 /made/for it pod 1 0x9 0 uid=0(root) gid=0 groups=0";
    assert_eq!(words.join(" "), expected, "{}", output.stderr);
    for made in ["new", "a", "a/b", "made", "made/for it"] {
        assert_eq!(owner(&upper.join(made)), (OUTSIDE, OUTSIDE + 1), "{made}");
    }
    let spec = world.spec("touch /home/mine; id -u; umask", |spec| {
        inside(spec);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [7] });
    });
    let output = world.run_plan(&world.plan_in(&spec, rootfs));
    assert_eq!(output.stdout, "1000\n0022\n", "{}", output.stderr);
    assert_eq!(owner(&upper.join("home/mine")), (OUTSIDE + 1000, OUTSIDE + 1001));
}

fn files_of_the_image_are_roots_inside_and_copies_of_them_the_mapped_users() {
    let world = world();
    let (rootfs, upper) = layers(&world);
    let script = "stat -c %u:%g / /etc/file /etc-of-the-top /home; echo more >> /etc/file; stat -c %u:%g /etc/file; \
        chown 5:6 /etc-of-the-top; stat -c %u:%g /etc-of-the-top; rm /etc/passwd; ls /etc";
    let plan = world.plan_in(&world.spec(script, inside), rootfs);
    let output = world.run_plan(&plan);
    assert_eq!(output.stdout, "0:0\n0:0\n0:0\n1000:1000\n0:0\n5:6\nfile\n", "{}", output.stderr);
    assert_eq!(owner(&upper.join("etc/file")), (OUTSIDE, OUTSIDE + 1));
    assert_eq!(owner(&upper.join("etc-of-the-top")), (OUTSIDE + 5, OUTSIDE + 7));
    // What the image has is as it was, for those outside.
    let layers = world.folder.path().join("layers");
    assert_eq!(owner(&layers.join("bottom/etc/file")), (0, 0));
    assert_eq!(std::fs::read_to_string(layers.join("bottom/etc/file")).unwrap(), "bottom");
}

fn a_volume_of_an_image_is_roots_inside() {
    let world = world();
    let (rootfs, _) = layers(&world);
    let other = world.folder.path().join("other");
    std::fs::create_dir_all(other.join("sub")).unwrap();
    std::fs::write(other.join("sub/file"), "").unwrap();
    let Rootfs::Overlay { lower, .. } = &rootfs else { panic!("no overlay") };
    // One of the layers is the root's as well.
    let both = json!([format!("lowerdir={}:{}", other.display(), lower[1].display()), "ro"]);
    let one = json!([format!("lowerdir+={}", other.display()), "ro", "cradle.sub-path=sub"]);
    let spec =
        world.spec("stat -c %u:%g /both /both/sub/file /both/etc/file /one/file; touch /both/x /one/x", |spec| {
            inside(spec);
            mount(spec, json!({ "destination": "/both", "type": "overlay", "source": "overlay", "options": both }));
            mount(spec, json!({ "destination": "/one", "type": "overlay", "source": "overlay", "options": one }));
        });
    let output = world.run_plan(&world.plan_in(&spec, rootfs));
    assert_eq!(output.stdout, "0:0\n".repeat(4), "{}", output.stderr);
    assert_eq!(output.stderr.matches("Read-only file system").count(), 2, "{}", output.stderr);
}

fn a_copy_with_shifted_owners_looks_as_the_image() {
    let world = world();
    let (root, volume) = (world.root(), world.folder.path().join("volume"));
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(root.join("page"), "").unwrap();
    std::fs::write(root.join("stranger"), "").unwrap();
    std::fs::copy("/usr/bin/id", root.join("id")).unwrap();
    let own = |path: &Path, uid, gid| chown(path, Some(OUTSIDE + uid), Some(OUTSIDE + 1 + gid)).unwrap();
    for path in [&root, &root.join("etc"), &root.join("id"), &volume] {
        own(path, 0, 0);
    }
    own(&root.join("page"), 33, 34);
    std::fs::set_permissions(root.join("id"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let script = "stat -c %u:%g / /etc /page /stranger /volume; touch /page; id -u; /id -u; touch /new /volume/new; \
        echo x > /stranger || echo refused";
    let run = |user: u32| {
        let spec = world.spec(script, |spec| {
            inside(spec);
            spec["process"]["user"] = json!({ "uid": user, "gid": 0 });
            spec["process"]["noNewPrivileges"] = json!(false);
            let options = json!([format!("lowerdir+={}", volume.display()), "ro"]);
            mount(
                spec,
                json!({ "destination": "/volume", "type": "overlay", "source": "overlay", "options": options }),
            );
        });
        let plan = world.try_plan_in(&spec, Rootfs::Directory(root.clone()), ImageOwners::Shifted).unwrap();
        world.run_plan(&plan)
    };
    let owners = "0:0\n0:0\n33:34\n65534:65534\n0:0\n";
    let output = run(33);
    assert_eq!(output.stdout, format!("{owners}33\n0\nrefused\n"), "{}", output.stderr);
    assert!(output.stderr.contains("/new': Permission denied"), "{}", output.stderr);
    let output = run(0);
    assert_eq!(output.stdout, format!("{owners}0\n0\nrefused\n"), "{}", output.stderr);
    assert!(output.stderr.contains("/volume/new': Read-only file system"), "{}", output.stderr);
    assert_eq!(owner(&root.join("new")), (OUTSIDE, OUTSIDE + 1));
}

fn a_mapped_volume_keeps_its_owners_and_another_one_is_nobodys() {
    let world = world();
    let volume = world.folder.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "").unwrap();
    chown(volume.join("file"), Some(5), Some(6)).unwrap();
    let map = |outside| json!([{ "containerID": 0, "hostID": outside, "size": 65536 }]);
    let script = "stat -c %u:%g /mapped /mapped/file /other /private; touch /mapped/new /other/new; touch /private/new";
    let output = world.run(script, |spec| {
        inside(spec);
        for (at, mapped) in [("/mapped", true), ("/other", false)] {
            let mut volume = json!({ "destination": at, "source": volume, "options": ["rbind"] });
            if mapped {
                volume["uidMappings"] = map(OUTSIDE);
                volume["gidMappings"] = map(OUTSIDE + 1);
            }
            mount(spec, volume);
        }
        // Another mapping than the pod's: its own user namespace.
        let private = json!({ "destination": "/private", "source": volume, "options": ["bind"],
            "uidMappings": map(OUTSIDE + 9), "gidMappings": map(OUTSIDE + 9) });
        mount(spec, private);
    });
    assert_eq!(output.stdout, "0:0\n5:6\n65534:65534\n9:8\n", "{}", output.stderr);
    assert_eq!(output.stderr.matches("Permission denied").count(), 2, "{}", output.stderr);
    assert_eq!(owner(&volume.join("new")), (0, 0));
    assert_eq!(std::fs::read_dir(&volume).unwrap().count(), 2);
}

fn shared_memory_queues_and_settings_of_the_pod_are_its_roots() {
    let sysctls = [("net.ipv4.ip_unprivileged_port_start", "7"), ("kernel.shmmni", "77"), ("fs.mqueue.msg_max", "33")];
    let sysctls = sysctls.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let world = World::with_pod(&PodPlan { sysctls, ..pod(PidShare::Container, 65536) });
    let script = "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/shmmni fs/mqueue/msg_max; \
        cat net/ipv6/conf/default/accept_ra 2> /dev/null || echo 0; \
        stat -c '%u:%g %a' /dev/shm /dev /dev/pts /proc/self/; touch /dev/shm/file /dev/mqueue/queue && echo made";
    let output = world.run(script, inside);
    let expected = "7\n77\n33\n0\n0:0 1777\n0:0 755\n0:0 755\n0:0 555\nmade\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    let output = world.run("stat -c %u /dev/shm/file /dev/mqueue/queue; hostname mine; hostname", |spec| {
        inside(spec);
        spec["process"]["capabilities"] = capabilities(&["CAP_SYS_ADMIN"]);
    });
    assert_eq!(output.stdout, "0\n0\nmine\n", "{}", output.stderr);
}

fn standard_streams_can_be_opened_by_name() {
    let world = world();
    for uid in [0, 1000] {
        let output = world.run("echo out > /dev/stdout; echo err > /proc/self/fd/2", |spec| {
            inside(spec);
            spec["process"]["user"] = json!({ "uid": uid, "gid": 0 });
            spec["process"]["capabilities"] = capabilities(&[]);
        });
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"), "{uid}");
    }
}

fn devices_work_and_none_can_be_made() {
    let world = world();
    let script = "echo gone > /dev/null; head -c 3 /dev/zero | wc -c; \
        stat -c '%n %a %u:%g %t:%T' /dev/null /dev/mine /dev/fifo /data/deep/zero; readlink /dev/ptmx; \
        mknod /tmp/null c 1 3; mknod /dev/x c 1 3; ls -A /tmp";
    let output = world.run(script, |spec| {
        inside(spec);
        spec["process"]["capabilities"] = capabilities(&["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
        spec["linux"]["devices"] = json!([
            { "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 384, "uid": 5, "gid": 6 },
            { "path": "/dev/fifo", "type": "p", "fileMode": 438 },
            { "path": "/data/deep/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 438 },
        ]);
    });
    let expected = "3\n/dev/null 666 0:0 1:3\n/dev/mine 600 5:6 1:5\n/dev/fifo 666 0:0 0:0\n\
        /data/deep/zero 666 0:0 1:5\npts/ptmx\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    assert_eq!(output.stderr.matches("Operation not permitted").count(), 2, "{}", output.stderr);
}

fn no_capability_reaches_beyond_the_user_namespace() {
    let world = world();
    let all: Vec<String> = cradle_executor::plan::capabilities::CapabilitySet::all().names();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let script = "grep -E 'Cap(Bnd|Eff)' /proc/self/status; echo 1 > /proc/sys/vm/drop_caches; \
        echo x > /proc/sys/kernel/core_pattern; date -s @0 > /dev/null; dmesg -c > /dev/null; \
        echo -1000 > /proc/self/oom_score_adj; ls /proc/1/root/usr > /dev/null && echo own; \
        mount -t tmpfs tmpfs /tmp && echo mounted; mount -t ext4 /dev/vda /tmp; chroot / true && echo chroot";
    let output = world.run(script, |spec| {
        inside(spec);
        spec["process"]["capabilities"] = capabilities(&all);
        spec["process"]["noNewPrivileges"] = json!(false);
        spec["process"]["oomScoreAdj"] = json!(-999);
        spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 4_000_000, "hard": 4_000_000 }]);
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
    });
    let granted = format!("{:016x}", world.facts.capabilities.0);
    let expected = format!("CapEff:\t{granted}\nCapBnd:\t{granted}\nown\nmounted\nchroot\n");
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    for refused in ["drop_caches", "core_pattern", "date", "dmesg", "I/O error", "/tmp: permission denied"] {
        assert!(output.stderr.contains(refused), "{refused}: {}", output.stderr);
    }
    let output = world.run("echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/kcore | wc -c", inside);
    assert_eq!(output.stdout, "0\n");
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
}

fn the_hosts_tree_is_gone_even_for_root_of_a_user_namespace() {
    let world = world();
    let marker = world.folder.path().join("marker");
    std::fs::write(&marker, "").unwrap();
    let script = format!(
        "cd /../../..; ls -d {0} ../{0} /proc/1/root/{0} /proc/1/cwd/../{0}; cat /proc/1/mountinfo; ls /proc/self/fd",
        marker.display()
    );
    let output = world.run(&script, |spec| {
        inside(spec);
        spec["process"]["capabilities"] = capabilities(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE"]);
    });
    assert!(!output.stdout.contains("marker\n"), "{} {}", output.stdout, output.stderr);
    let mounts: Vec<&str> = output.stdout.lines().filter(|line| line.contains(" - ")).collect();
    assert_eq!(mounts.iter().filter(|line| line.contains(" / / ")).count(), 0, "{mounts:?}");
    assert_eq!(mounts.iter().filter(|line| line.contains(" / rw")).count(), 1, "{mounts:?}");
    assert!(!output.stdout.contains("shared:") && !output.stdout.contains("master:"), "{}", output.stdout);
    // The folder that ls reads is its fourth.
    assert!(output.stdout.ends_with("0\n1\n2\n3\n"), "{}", output.stdout);
}

fn execs_enter_the_user_namespace() {
    let world = world();
    let running = world.start(inside);
    let links = "for kind in user mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$kind; done";
    let script = format!("{links}; id -u; id -g; cat /proc/self/uid_map; echo by name > /dev/stdout; touch /tmp/mine");
    let output = running.exec(&world, &script, |process| {
        process["user"] = json!({ "uid": 1000, "gid": 7 });
        process["oomScoreAdj"] = json!(500);
        process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
    });
    let own = |kind: &str| std::fs::read_link(format!("/proc/{}/ns/{kind}", running.started.pid)).unwrap();
    let links: Vec<String> =
        ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"].map(|kind| own(kind).display().to_string()).into();
    assert!(output.stdout.starts_with(&links.join("\n")), "{} {}", output.stdout, output.stderr);
    assert!(output.stdout.contains("\n1000\n7\n") && output.stdout.ends_with("by name\n"), "{}", output.stdout);
    let status = "cat /proc/self/oom_score_adj; ulimit -n; grep -E 'CapBnd|CapEff' /proc/self/status; touch /x";
    let output = running.exec(&world, status, |process| process["oomScoreAdj"] = json!(500));
    let (_, rest) = output.stdout.split_once('\n').unwrap();
    assert!(output.stdout.starts_with("500\n") && rest.contains("CapBnd:\t0000000000000001"), "{}", output.stdout);
    let outside = std::fs::read_link("/proc/self/ns/user").unwrap();
    assert_ne!(own("user"), outside);
    assert_eq!(running.stop().code, 7);
    assert_eq!(owner(&world.root().join("x")), (0, 0));
}

fn terminals_belong_to_the_user_of_the_container() {
    let world = world();
    let script = "tty; stat -c '%u %a' $(tty) /dev/console; echo x > /dev/tty; readlink /proc/self/fd/0";
    let spec = world.spec(script, |spec| {
        inside(spec);
        spec["process"]["terminal"] = json!(true);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let stdio = Stdio::Terminal { columns: 80, rows: 24 };
    let started = run::start(&world.plan(&spec), &world.pod, stdio, &world.single).unwrap();
    assert_eq!(end_with_terminal(started), "/dev/pts/0 1000 620 1000 620 x /dev/pts/0");
    let running = world.start(inside);
    let plan = running.exec_plan(&world, script, |_| {});
    let plan = plan.with_command(&["/bin/sh".into(), "-c".into(), "tty; stat -c '%u %a' $(tty)".into()], true).unwrap();
    let stdio = Stdio::Terminal { columns: 80, rows: 24 };
    let started = run::exec(&plan, running.container(), "terminal", stdio, &world.single).unwrap();
    assert_eq!(end_with_terminal(started), "/dev/pts/0 0 620");
    running.stop();
}

fn end_with_terminal(mut started: run::Started) -> String {
    use std::io::Read;
    let mut master = std::fs::File::from(started.terminal_master.take().unwrap());
    let mut text = Vec::new();
    // A terminal whose last user is gone ends with an error.
    let _ = master.read_to_end(&mut text);
    reap(&started);
    started.cgroup.remove().unwrap();
    crate::world::remove_groups();
    String::from_utf8(text).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn a_pid_namespace_of_the_pod_belongs_to_the_user_namespace() {
    let world = World::with_pod(&pod(PidShare::Pod, 65536));
    let shared = |spec: &mut Value| {
        inside(spec);
        spec["linux"]["namespaces"][1] = json!({ "type": "pid", "path": "/cradle.pod" });
        spec["process"]["capabilities"] = capabilities(&["CAP_SYS_PTRACE", "CAP_KILL", "CAP_DAC_OVERRIDE"]);
    };
    let running = world.start(shared);
    let script = "cat /proc/1/comm; ls -A /proc/1/root/ | wc -l; ls /proc/1/fd | wc -l; \
        grep -E '^(Uid|CapPrm|CapBnd|NoNewPrivs)' /proc/1/status; kill -9 1; cat /proc/1/comm; grep -l cat /proc/*/comm";
    let output = world.run(script, shared);
    let expected = "cradle-init\n0\n0\nUid:\t65534\t65534\t65534\t65534\nCapPrm:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nNoNewPrivs:\t1\ncradle-init\n";
    assert!(output.stdout.starts_with(expected), "{} {}", output.stdout, output.stderr);
    assert_eq!(output.stdout.lines().count(), expected.lines().count() + 1, "{}", output.stdout);
    let output = running.exec(&world, "cat /proc/1/comm", |_| {});
    assert_eq!(output.stdout, "cradle-init\n", "{}", output.stderr);
    running.stop();
    drop(world);
    crate::world::assert_no_children();
}

fn a_pod_with_the_hosts_network_can_have_a_user_namespace() {
    let network = std::fs::read_link("/proc/self/ns/net").unwrap();
    let host = PodPlan { network: Share::Host, uts: Share::Host, ..pod(PidShare::Container, 65536) };
    let world = World::with_pod(&host);
    assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), network);
    let script = "readlink /proc/self/ns/net; ls -d /sys/class/net/lo; hostname x; echo 9 > \
        /proc/sys/net/ipv4/ip_default_ttl; ip link add type dummy";
    let output = world.run(script, |spec| {
        inside(spec);
        spec["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|namespace| !["network", "uts"].contains(&namespace["type"].as_str().unwrap()));
        spec["linux"]["readonlyPaths"] = json!([]);
        spec["process"]["capabilities"] = capabilities(&["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    });
    assert_eq!(output.stdout, format!("{}\n/sys/class/net/lo\n", network.display()), "{}", output.stderr);
    assert!(output.stderr.contains("hostname") && output.stderr.contains("ip_default_ttl"), "{}", output.stderr);
}

fn namespaces_of_a_containers_own_belong_to_the_user_namespace() {
    let world = world();
    let script = "hostname; cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax; ls -d /sys/class/net/lo; \
        touch /dev/mqueue/queue && echo made; ip link set lo up && cat /sys/class/net/lo/flags";
    let output = world.run(script, |spec| {
        inside(spec);
        for namespace in spec["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] != "user" {
                namespace.as_object_mut().unwrap().remove("path");
            }
        }
        spec["hostname"] = json!("mine");
        spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "77", "kernel.msgmax": "5000" });
        spec["process"]["capabilities"] = capabilities(&["CAP_NET_ADMIN"]);
    });
    assert_eq!(output.stdout, "mine\n77\n5000\n/sys/class/net/lo\nmade\n0x9\n", "{}", output.stderr);
}

fn a_namespace_of_one_user_is_enough_for_root() {
    let world = World::with_pod(&pod(PidShare::Pod, 1));
    let output = world.run("id -u; cat /proc/1/comm; touch /tmp/x", |spec| {
        inside_of(1)(spec);
        spec["linux"]["namespaces"][1] = json!({ "type": "pid", "path": "/cradle.pod" });
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev/pts");
    });
    assert_eq!(output.stdout, "0\ncradle-init\n", "{}", output.stderr);
}

fn an_id_that_is_not_mapped_is_refused() {
    let world = world();
    for user in [
        json!({ "uid": 65536, "gid": 0 }),
        json!({ "uid": 0, "gid": 65536 }),
        json!({ "uid": 0, "gid": 0, "additionalGids": [1, 65536] }),
    ] {
        let spec = world.spec("true", |spec| {
            inside(spec);
            spec["process"]["user"] = user;
        });
        let error = world.try_plan(&spec).unwrap_err();
        assert!(matches!(error, PlanError::Invalid { field: "process.user", .. }), "{error}");
        let text = "process.user \"65536\" is not among the ids of the pod's user namespace";
        assert_eq!(error.to_string(), text);
    }
}

fn a_plan_for_another_user_namespace_is_refused() {
    let refused = "the plan and the pod disagree about the user namespace";
    let world = world();
    assert_eq!(world.refusal("true", |_| {}), refused);
    assert_eq!(world.refusal("true", inside_of(65535)), refused);
    drop(world);
    assert_eq!(World::new().refusal("true", inside), refused);
}

fn a_failed_start_says_why_and_leaves_nothing() {
    let world = world();
    let text = world.refusal("", |spec| {
        inside(spec);
        spec["process"]["args"] = json!(["foo"]);
    });
    assert_eq!(text, "exec: \"foo\": executable file not found in $PATH");
    let text = world.refusal("true", |spec| {
        inside(spec);
        mount(spec, json!({ "destination": "/x", "type": "tmpfs", "options": ["nonsense=1"] }));
    });
    assert_eq!(text, "mount /x: tmpfs, nonsense=1: tmpfs: Unknown parameter 'nonsense': Invalid argument");
    let text = world.refusal("true", |spec| {
        inside(spec);
        let map = json!([{ "containerID": 0, "hostID": OUTSIDE, "size": 1 }]);
        let mapped = json!({ "destination": "/x", "source": "/proc/sys", "options": ["bind"],
            "uidMappings": map, "gidMappings": map });
        mount(spec, mapped);
    });
    let expected = "mapping the owners of bind source /proc/sys for /x: Invalid argument";
    assert!(text.ends_with(expected), "{text}");
    crate::world::assert_no_children();
}

fn this_machine_is_found_able() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let single = cradle_sys::SingleThreaded::check().unwrap();
    match run::probe::user_namespaces(folder.path(), &single) {
        Ok(Layers::Mapped) => {}
        Ok(Layers::Copied(why)) => panic!("{}", Chain(&why)),
        // Before Linux 6.3, all is there but this.
        Err(error) if Chain(&error).to_string().contains("mapping the owners in a tmpfs: Invalid argument") => return,
        Err(error) => panic!("{}", Chain(&error)),
    }
    // A file system that cannot map owners.
    let Ok(Layers::Copied(why)) = run::probe::user_namespaces(Path::new("/proc/sys"), &single) else {
        panic!("owners in procfs are mapped");
    };
    let expected = "an overlay of images whose owners are mapped: mapping the owners in /proc/sys: Invalid argument";
    assert_eq!(Chain(&why).to_string(), expected);
    // A /proc of which a part is covered.
    rustix::mount::mount("tmpfs", "/proc/irq", "tmpfs", rustix::mount::MountFlags::empty(), c"").unwrap();
    let text = Chain(&run::probe::user_namespaces(other.path(), &single).unwrap_err()).to_string();
    assert!(text.ends_with("a part of this machine's /proc is covered, as in a container"), "{text}");
}

fn starts_in_a_user_namespace_are_measured() {
    const ROUNDS: usize = 20;
    let world = world();
    let (rootfs, _) = layers(&world);
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        let plan = world.plan_in(&world.spec("true", inside), rootfs.clone());
        let (stdio, pipes) = pipes();
        let began = std::time::Instant::now();
        let started = run::start(&plan, &world.pod, stdio, &world.single).unwrap();
        starts.push(began.elapsed());
        crate::world::finish(started, pipes);
    }
    starts.sort();
    println!("       start: median {:?}, best {:?}, worst {:?}", starts[ROUNDS / 2], starts[0], starts[ROUNDS - 1]);
    assert!(starts[ROUNDS / 2] < std::time::Duration::from_millis(500));
}
