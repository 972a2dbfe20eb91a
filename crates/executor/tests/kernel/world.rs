//! What a test stands on: a root file system made of the host's programs, a pod, and a way to run a script.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cradle_domain::ContainerId;
use cradle_domain::failure::Chain;
use cradle_executor::plan::{self, ContainerPlan, Facts, ImageOwners, PlanContext, PlanError, Rootfs};
use cradle_executor::pod::{self, PodNamespaces, PodPlan};
use cradle_executor::run::{self, Container, Started, Stdio};
use cradle_sys::SingleThreaded;
use oci_spec::runtime::{Process, Spec};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};

/// One test's surroundings.
pub struct World {
    pub folder: tempfile::TempDir,
    pub facts: Facts,
    pub pod: PodNamespaces,
    pub single: SingleThreaded,
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

static CONTAINERS: AtomicU32 = AtomicU32::new(0);

/// The control group that all groups of a test lie in.
pub fn group_name(test: i32) -> String {
    format!("/cradle-executor-test-{test}")
}

impl World {
    pub fn new() -> World {
        World::with_pod(&PodPlan { hostname: "pod".into(), shm_size_bytes: 1 << 20, ..PodPlan::default() })
    }

    pub fn with_pod(plan: &PodPlan) -> World {
        let folder = tempfile::tempdir().unwrap();
        make_root(&folder.path().join("root"));
        let facts = Facts::read().unwrap();
        let single = SingleThreaded::check().unwrap();
        let pod = pod::set_up(plan, &single).unwrap();
        World { folder, facts, pod, single }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A container's specification for a shell script, changed by `change`.
    pub fn spec(&self, script: &str, change: impl FnOnce(&mut Value)) -> Value {
        let number = CONTAINERS.fetch_add(1, Ordering::Relaxed);
        let group = format!("{}/{number}", group_name(rustix::process::getpid().as_raw_pid()));
        let mut spec = json!({
            "ociVersion": "1.2.0",
            "root": { "path": "" },
            "process": {
                "args": ["/bin/sh", "-c", script],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
                "cwd": "/",
                "user": { "uid": 0, "gid": 0 },
                "capabilities": capabilities(&["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]),
                "noNewPrivileges": true,
            },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                  "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
                { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                  "options": ["nosuid", "noexec", "nodev"] },
                { "destination": "/sys", "type": "sysfs", "source": "sysfs",
                  "options": ["nosuid", "noexec", "nodev", "ro"] },
                { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                  "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
                { "destination": "/dev/shm", "type": "cradle.pod-shm" },
                { "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"] },
            ],
            "linux": {
                "cgroupsPath": group,
                "namespaces": [
                    { "type": "mount" }, { "type": "pid" }, { "type": "cgroup" },
                    { "type": "network", "path": "/cradle.pod" },
                    { "type": "ipc", "path": "/cradle.pod" },
                    { "type": "uts", "path": "/cradle.pod" },
                ],
                "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        });
        change(&mut spec);
        spec
    }

    pub fn plan(&self, spec: &Value) -> ContainerPlan {
        self.plan_in(spec, Rootfs::Directory(self.root()))
    }

    pub fn plan_in(&self, spec: &Value, rootfs: Rootfs) -> ContainerPlan {
        self.try_plan_in(spec, rootfs, ImageOwners::Original).unwrap()
    }

    pub fn try_plan(&self, spec: &Value) -> Result<ContainerPlan, PlanError> {
        self.try_plan_in(spec, Rootfs::Directory(self.root()), ImageOwners::Original)
    }

    pub fn try_plan_in(&self, spec: &Value, rootfs: Rootfs, owners: ImageOwners) -> Result<ContainerPlan, PlanError> {
        let spec: Spec = serde_json::from_value(spec.clone()).unwrap();
        let id = ContainerId::from_random(cradle_sys::random::bytes().unwrap());
        plan::container(&spec, &PlanContext { id, rootfs, owners, facts: &self.facts })
    }

    /// Runs a script to its end.
    pub fn run(&self, script: &str, change: impl FnOnce(&mut Value)) -> Output {
        self.run_plan(&self.plan(&self.spec(script, change)))
    }

    pub fn run_plan(&self, plan: &ContainerPlan) -> Output {
        let (stdio, pipes) = pipes();
        match run::start(plan, &self.pod, stdio, &self.single) {
            Ok(started) => finish(started, pipes),
            Err(error) => panic!("the start failed: {}\n{plan}", Chain(&error)),
        }
    }

    /// Why a script is not started; the text of the whole chain.
    pub fn refusal(&self, script: &str, change: impl FnOnce(&mut Value)) -> String {
        let plan = self.plan(&self.spec(script, change));
        let error = run::start(&plan, &self.pod, pipes().0, &self.single).expect_err("it starts");
        Chain(&error).to_string()
    }

    /// Starts a container that runs until its stdin is closed.
    pub fn start(&self, change: impl FnOnce(&mut Value)) -> Running {
        let plan = self.plan(&self.spec("cat; exit 7", change));
        let (stdio, pipes) = pipes();
        let started = match run::start(&plan, &self.pod, stdio, &self.single) {
            Ok(started) => started,
            Err(error) => panic!("the start failed: {}\n{plan}", Chain(&error)),
        };
        Running { plan, started, pipes }
    }
}

/// A container that runs until its stdin is closed.
pub struct Running {
    pub plan: ContainerPlan,
    pub started: Started,
    pub pipes: Pipes,
}

impl Running {
    pub fn container(&self) -> Container<'_> {
        Container { pidfd: self.started.pidfd.as_fd(), cgroup: &self.started.cgroup }
    }

    pub fn exec_plan(&self, world: &World, script: &str, change: impl FnOnce(&mut Value)) -> plan::ExecPlan {
        let mut process = json!({
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "user": { "uid": 0, "gid": 0 },
            "capabilities": capabilities(&["CAP_CHOWN"]),
            "noNewPrivileges": true,
        });
        change(&mut process);
        let process: Process = serde_json::from_value(process).unwrap();
        plan::exec(&process, &self.plan, &world.facts).unwrap()
    }

    /// Runs a script in the container to its end.
    pub fn exec(&self, world: &World, script: &str, change: impl FnOnce(&mut Value)) -> Output {
        let plan = self.exec_plan(world, script, change);
        let (stdio, pipes) = pipes();
        let number = CONTAINERS.fetch_add(1, Ordering::Relaxed);
        match run::exec(&plan, self.container(), &format!("exec-{number}"), stdio, &world.single) {
            Ok(started) => finish(started, pipes),
            Err(error) => panic!("the exec failed: {}\n{plan}", Chain(&error)),
        }
    }

    pub fn stop(self) -> Output {
        finish(self.started, self.pipes)
    }
}

/// Our ends of a process's standard streams.
pub struct Pipes {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

pub fn pipes() -> (Stdio, Pipes) {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (their_in, stdin) = pipe();
    let (stdout, their_out) = pipe();
    let (stderr, their_err) = pipe();
    let stdio = Stdio::Pipes { stdin: their_in, stdout: their_out, stderr: their_err };
    (stdio, Pipes { stdin, stdout, stderr })
}

/// Closes stdin, reads to the end, reaps, and removes the control group.
pub fn finish(started: Started, pipes: Pipes) -> Output {
    drop(pipes.stdin);
    let stdout = read_all(pipes.stdout);
    let stderr = read_all(pipes.stderr);
    let code = reap(&started);
    started.cgroup.remove().unwrap();
    remove_groups();
    Output { code, stdout, stderr }
}

/// Removes the control group that the groups of this test lay in, if none is left in it.
pub fn remove_groups() {
    let parent = group_name(rustix::process::getpid().as_raw_pid());
    for tree in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let _ = fs::remove_dir(tree.path().join(parent.trim_start_matches('/')));
    }
}

/// Neither a running nor a dead child of this process is left.
pub fn assert_no_children() {
    let child = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert!(matches!(child, Err(rustix::io::Errno::CHILD)), "{child:?}");
}

/// So that a test whose starts all fail leaves no group either.
impl Drop for World {
    fn drop(&mut self) {
        remove_groups();
    }
}

/// The exit code of a started process, or 128 and its signal.
pub fn reap(started: &Started) -> i32 {
    let status = waitid(WaitId::PidFd(started.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap()
}

pub fn read_all(from: OwnedFd) -> String {
    let mut text = String::new();
    fs::File::from(from).read_to_string(&mut text).unwrap();
    text
}

pub fn write(to: &OwnedFd, text: &str) {
    fs::File::from(to.try_clone().unwrap()).write_all(text.as_bytes()).unwrap();
}

/// All five sets.
pub fn capabilities(names: &[&str]) -> Value {
    json!({ "bounding": names, "effective": names, "permitted": names, "inheritable": names, "ambient": [] })
}

/// A root file system whose programs are the host's, to be mounted at `/usr`.
pub fn make_root(root: &Path) {
    for folder in ["usr", "etc", "tmp", "root", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
}

/// Adds a mount to a specification.
pub fn mount(spec: &mut Value, mount: Value) {
    spec["mounts"].as_array_mut().unwrap().push(mount);
}
