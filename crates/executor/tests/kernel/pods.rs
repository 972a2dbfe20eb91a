//! What the containers of a pod share.

use cradle_executor::plan::Namespace;
use cradle_executor::pod::{PidShare, PodPlan, Share};
use cradle_executor::run;
use cradle_executor::seccomp::Architecture;
use serde_json::json;

use crate::world::{World, capabilities, pipes};
use crate::{Test, tests};

pub const TESTS: &[Test] = tests![pods:
    a_pod_has_its_own_network_with_loopback_up,
    containers_of_a_pod_share_memory_and_queues,
    memory_is_shared_on_kernels_that_copy_no_detached_mount,
    sysctls_of_the_pod_are_seen_by_its_containers,
    a_neighbour_cannot_become_the_router_of_a_pod,
    the_init_of_a_pod_has_nothing_that_a_container_could_take,
    a_pod_can_be_let_go_before_its_containers_are_reaped,
    a_host_pod_leaves_the_host_as_it_is,
    a_plan_for_the_hosts_network_is_refused_in_a_pod_with_its_own,
    the_descriptors_of_a_pod_are_closed_with_it,
];

fn a_pod_has_its_own_network_with_loopback_up() {
    let world = World::new();
    assert!(world.pod.network.is_some() && world.pod.netlink.is_some());
    let output = world.run("cat /sys/class/net/lo/flags; hostname", |_| {});
    // IFF_UP and IFF_LOOPBACK.
    assert_eq!(output.stdout, "0x9\npod\n");
}

fn containers_of_a_pod_share_memory_and_queues() {
    let world = World::new();
    world.run("echo shared > /dev/shm/file", |_| {});
    let output = world.run("cat /dev/shm/file; df -k /dev/shm | tail -1; stat -c %a /dev/shm", |_| {});
    assert!(output.stdout.starts_with("shared\n") && output.stdout.contains(" 1024 "), "{}", output.stdout);
    assert!(output.stdout.ends_with("\n1777\n"), "{}", output.stdout);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(mounts.matches("size=1024k").count(), 0, "the pod's shared memory is in the shim's mount table");
}

/// Before Linux 6.15, open_tree(2) refuses to copy what is attached nowhere: so does a filter here.
fn memory_is_shared_on_kernels_that_copy_no_detached_mount() {
    const OPEN_TREE_CLONE_CLOEXEC_AND_AT_EMPTY_PATH: u64 = 0x8_1001;
    let profile = serde_json::from_value(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["open_tree"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
            "args": [{ "index": 2, "value": OPEN_TREE_CLONE_CLOEXEC_AND_AT_EMPTY_PATH, "op": "SCMP_CMP_EQ" }] }],
    }));
    let filter = cradle_executor::seccomp::compile(&profile.unwrap(), Architecture::native()).unwrap();
    cradle_sys::bpf::install_seccomp_filter(&filter.filter, filter.flags).unwrap();
    let before = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    let world = World::new();
    assert_eq!(std::fs::read_link("/proc/self/ns/mnt").unwrap(), before);
    let without_masks = |spec: &mut serde_json::Value| spec["linux"]["maskedPaths"] = json!([]);
    world.run("echo shared > /dev/shm/file", without_masks);
    let output =
        world.run("cat /dev/shm/file; grep -c . /proc/self/mountinfo; grep shm /proc/self/mountinfo", without_masks);
    assert!(output.stdout.starts_with("shared\n") && output.stdout.contains("size=1024k"), "{output:?}");
}

fn sysctls_of_the_pod_are_seen_by_its_containers() {
    let sysctls = [("net.ipv4.ip_unprivileged_port_start", "0"), ("kernel.shmmni", "77"), ("fs.mqueue.msg_max", "33")];
    let world = World::with_pod(&PodPlan {
        sysctls: sysctls.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..PodPlan::default()
    });
    let output = world.run(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max",
        |_| {},
    );
    assert_eq!(output.stdout, "0\n77\n33\n");
}

fn a_neighbour_cannot_become_the_router_of_a_pod() {
    let world = World::with_pod(&PodPlan::default());
    let output = world.run("cd /proc/sys/net/ipv6/conf && cat default/accept_ra || echo no IPv6", |_| {});
    assert!(["0\n", "no IPv6\n"].contains(&output.stdout.as_str()), "{output:?}");
}

fn the_init_of_a_pod_has_nothing_that_a_container_could_take() {
    let world = World::with_pod(&PodPlan { pid: PidShare::Pod, ..PodPlan::default() });
    let script = "cat /proc/1/comm; ls -A /proc/1/root/ | wc -l; ls /proc/1/fd | wc -l; \
        grep -E '^(Uid|CapPrm|CapBnd|NoNewPrivs)' /proc/1/status; kill -9 1; kill -TERM 1; cat /proc/1/comm";
    let output = world.run(script, |spec| {
        spec["linux"]["namespaces"][1] = json!({ "type": "pid", "path": "/cradle.pod" });
        spec["process"]["capabilities"] = capabilities(&["CAP_SYS_PTRACE", "CAP_KILL", "CAP_DAC_OVERRIDE"]);
    });
    let expected = "cradle-init\n0\n0\nUid:\t65534\t65534\t65534\t65534\nCapPrm:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nNoNewPrivs:\t1\ncradle-init\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
}

/// The first process of a PID namespace is not dead before all others are reaped: nobody must wait for that.
fn a_pod_can_be_let_go_before_its_containers_are_reaped() {
    let mut world = World::with_pod(&PodPlan { pid: PidShare::Pod, ..PodPlan::default() });
    let running = world.start(|spec| spec["linux"]["namespaces"][1] = json!({ "type": "pid", "path": "/cradle.pod" }));
    let other = PodPlan { network: Share::Host, ipc: Share::Host, uts: Share::Host, ..PodPlan::default() };
    world.pod = cradle_executor::pod::set_up(&other, &world.single).unwrap();
    assert_eq!(running.stop().code, 137);
    // The init is dead now, and a child of this process as every other.
    rustix::process::wait(rustix::process::WaitOptions::empty()).unwrap();
    crate::world::assert_no_children();
}

fn a_host_pod_leaves_the_host_as_it_is() {
    let link = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    let before = ["net", "ipc", "uts"].map(link);
    let host = Share::Host;
    let world = World::with_pod(&PodPlan { network: host, ipc: host, uts: host, ..PodPlan::default() });
    assert_eq!(["net", "ipc", "uts"].map(link), before);
    let output =
        world.run("for kind in net ipc uts; do readlink /proc/self/ns/$kind; done; df /dev/shm | tail -1", |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace.get("path").is_none());
        });
    let expected = before.map(|link| format!("{}\n", link.display())).concat();
    assert!(output.stdout.starts_with(&expected), "{} {}", output.stdout, output.stderr);
}

fn a_plan_for_the_hosts_network_is_refused_in_a_pod_with_its_own() {
    let world = World::new();
    let mut plan = world.plan(&world.spec("true", |_| {}));
    plan.namespaces.network = Namespace::Host;
    let error = run::start(&plan, &world.pod, pipes().0, &world.single).unwrap_err();
    assert_eq!(error.to_string(), "the plan and the pod disagree about the host's network namespace");
}

fn the_descriptors_of_a_pod_are_closed_with_it() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let world = World::with_pod(&PodPlan { pid: PidShare::Pod, ..PodPlan::default() });
    let running = world.start(|spec| spec["linux"]["namespaces"][1] = json!({ "type": "pid", "path": "/cradle.pod" }));
    running.exec(&world, "true", |_| {});
    running.stop();
    drop(world);
    assert_eq!(descriptors(), before);
    crate::world::assert_no_children();
}
