//! A real shim, started as the daemon starts it, with a client that speaks its protocol.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cradle_domain::{ContainerId, PodId};
use cradle_executor::cgroup::{self, Cgroup};
use cradle_executor::plan::{self, ContainerPlan, Facts, IdMapping, IdRange, ImageOwners, PlanContext, Rootfs};
use cradle_executor::pod::{PidShare, PodPlan, Share};
use cradle_shim::protocol::{
    ContainerIo, Event, ExecId, ExecIo, Exit, Frame, Greeting, Refusal, Reply, Request, StartContainer, StartExec,
    VERSION,
};
use cradle_shim::wire::{self, Message, RECEIVE_BUFFER_BYTES};
use cradle_sys::spawn::{Program, spawn};
use oci_spec::runtime::{
    LinuxBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxResources, MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::{Pid, Signal};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the tests can run; they print why not, and fail where `TEST_REQUIRE` asks for root.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: needs root");
        let required = std::env::var("TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|word| word == "root"), "TEST_REQUIRE asks for root");
    }
    root
}

/// Waits for something to become true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// A file system that never answers: a FUSE mount whose server does not read. Paths below it hang whoever looks at them.
pub struct HungMount {
    pub path: PathBuf,
    _server: OwnedFd,
}

impl HungMount {
    /// None: this machine has no FUSE.
    pub fn new(path: PathBuf) -> Option<Self> {
        use rustix::fs::{Mode, OFlags};
        let server = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
        std::fs::create_dir(&path).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&server);
        let options = format!("fd={number},rootmode=40000,user_id=0,group_id=0");
        let options = CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
        rustix::mount::mount("hung", &path, "fuse", flags, options.as_c_str()).ok()?;
        Some(HungMount { path, _server: server })
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

/// A file system with room for 256 KiB.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("small", &path, "tmpfs", flags, c"size=256k").unwrap();
        SmallDisk(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

/// A shim and its folders. Dropped, it asserts that nothing is left of it.
pub struct TestShim {
    folder: tempfile::TempDir,
    pub pod: PodId,
    pub pid: Pid,
    pub client: Client,
    facts: Facts,
    cgroup: String,
    /// Of the pod's user namespace.
    mapping: Option<IdMapping>,
    reaped: bool,
    next_exec: u64,
}

/// One connection.
pub struct Client {
    socket: OwnedFd,
    sequence: u64,
    events: VecDeque<Event>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(socket: OwnedFd) -> Self {
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
        Client { socket, sequence: 0, events: VecDeque::new(), buffer: vec![0; RECEIVE_BUFFER_BYTES] }
    }

    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub fn send(&mut self, body: Request, descriptors: Vec<OwnedFd>) -> u64 {
        self.sequence += 1;
        let frame = Frame::Request { sequence: self.sequence, request_id: format!("test-{}", self.sequence), body };
        wire::send(&self.socket, &wire::encode(Message { frame, descriptors }).unwrap()).unwrap();
        self.sequence
    }

    /// The answer to a request; events that come before it are kept.
    pub fn answer(&mut self, expected: u64) -> Result<(Reply, Vec<OwnedFd>), Refusal> {
        loop {
            let message = wire::receive(&self.socket, &mut self.buffer).expect("an answer");
            match message.frame {
                Frame::Reply { sequence, body } => {
                    assert_eq!(sequence, expected);
                    return body.map(|reply| (reply, message.descriptors));
                }
                Frame::Event(event) => self.events.push_back(event),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next answer, whatever it answers.
    pub fn answer_to_any(&mut self) -> (u64, Result<Reply, Refusal>) {
        loop {
            match wire::receive(&self.socket, &mut self.buffer).expect("an answer").frame {
                Frame::Reply { sequence, body } => return (sequence, body),
                Frame::Event(event) => self.events.push_back(event),
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn call(&mut self, body: Request) -> Result<(Reply, Vec<OwnedFd>), Refusal> {
        self.call_with(body, Vec::new())
    }

    pub fn call_with(&mut self, body: Request, fds: Vec<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>), Refusal> {
        let sequence = self.send(body, fds);
        self.answer(sequence)
    }

    pub fn done(&mut self, body: Request) {
        let text = format!("{body:?}");
        let (reply, _) = self.call(body).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"));
        assert!(matches!(reply, Reply::Done), "{text}: {reply:?}");
    }

    pub fn hello(&mut self) -> Greeting {
        match self.call(Request::Hello { version: VERSION }).unwrap().0 {
            Reply::Greeting(greeting) => *greeting,
            other => panic!("{other:?}"),
        }
    }

    /// The next event.
    pub fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        match wire::receive(&self.socket, &mut self.buffer).expect("an event").frame {
            Frame::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    pub fn container_exit(&mut self, expected: &ContainerId) -> Exit {
        match self.event() {
            Event::ContainerExited { container, exit } if container == *expected => exit,
            other => panic!("{other:?}"),
        }
    }

    pub fn exec_exit(&mut self, expected: ExecId) -> Exit {
        match self.event() {
            Event::ExecExited { exec, exit, .. } if exec == expected => exit,
            other => panic!("{other:?}"),
        }
    }

    /// The shim has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        match wire::receive(&self.socket, &mut self.buffer) {
            Err(error) => error.is_closed(),
            Ok(message) => panic!("{message:?}"),
        }
    }
}

/// What a container is to be.
#[derive(Clone)]
pub struct Wanted<'a> {
    pub command: &'a str,
    /// Bound at `/tmp`.
    pub bind: Option<PathBuf>,
    pub own_pids: bool,
    pub memory_limit_bytes: Option<i64>,
    pub io: ContainerIo,
}

/// A shell with this script, in a PID namespace of its own, with a log.
pub fn script(command: &str) -> Wanted<'_> {
    let io = ContainerIo { log_path: None, log_line_max_bytes: 0, terminal: false, stdin: false, stdin_once: false };
    Wanted { command, bind: None, own_pids: true, memory_limit_bytes: None, io }
}

fn shim_cgroup(pod: &PodId) -> String {
    format!("/cradle-shim-test-{}", pod.short())
}

impl TestShim {
    pub fn launch() -> Self {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pod = PodId::from_random(cradle_sys::random::bytes().unwrap());
        let directory = folder.path().join("pod");
        std::fs::create_dir(&directory).unwrap();
        make_rootfs(&folder.path().join("rootfs"));

        let flags = SocketFlags::CLOEXEC;
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(directory.join("shim.sock")).unwrap()).unwrap();
        rustix::net::listen(&listener, 4).unwrap();
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let log = std::fs::File::create(folder.path().join("shim.log")).unwrap();

        let word = |text: &[u8]| CString::new(text).unwrap();
        let program = std::env::var("CRADLE_SHIM").unwrap_or(env!("CARGO_BIN_EXE_cradle-shim").to_owned());
        let program = word(program.as_bytes());
        let arguments = ["cradle-shim", "--pod", pod.as_str(), "--dir", directory.to_str().unwrap()];
        let arguments: Vec<CString> = arguments.iter().map(|text| word(text.as_bytes())).collect();
        let pid = spawn(&Program {
            path: &program,
            arguments: &arguments,
            environment: &[],
            descriptors: &[(listener.as_fd(), 3), (theirs.as_fd(), 4), (log.as_fd(), 5)],
        })
        .unwrap();
        let cgroup = shim_cgroup(&pod);
        let facts = Facts::read().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        TestShim {
            folder,
            pod,
            pid,
            client: Client::new(ours),
            facts,
            cgroup,
            mapping: None,
            reaped: false,
            next_exec: 0,
        }
    }

    /// A shim whose pod lives in the host's namespaces.
    pub fn with_host_pod() -> Self {
        let mut shim = Self::launch();
        let plan = PodPlan {
            network: Share::Host,
            ipc: Share::Host,
            uts: Share::Host,
            pid: PidShare::Container,
            ..PodPlan::default()
        };
        let (reply, descriptors) = shim.client.call(Request::SetUpPod(Box::new(plan))).unwrap();
        assert!(matches!(reply, Reply::PodReady));
        assert!(descriptors.is_empty(), "the host's network is not handed over");
        shim
    }

    /// A shim whose pod has a user namespace of its own.
    pub fn with_user_namespace() -> Self {
        let mut shim = Self::launch();
        let range = || vec![IdRange { inside: 0, outside: 200_000, length: 1000 }];
        shim.mapping = Some(IdMapping { uids: range(), gids: range() });
        let plan = PodPlan { user: shim.mapping.clone(), shm_size_bytes: 1 << 20, ..PodPlan::default() };
        let (reply, descriptors) = shim.client.call(Request::SetUpPod(Box::new(plan))).unwrap();
        assert!(matches!(reply, Reply::PodReady));
        assert_eq!(descriptors.len(), 2);
        shim
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log_lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        // A line that was cut off by a full disk has less than a time.
        text.lines().map(|line| line.get(31..).unwrap_or(line).to_owned()).collect()
    }

    /// What the shim itself has logged.
    pub fn journal(&self) -> String {
        std::fs::read_to_string(self.path("shim.log")).unwrap()
    }

    pub fn plan(&self, id: &ContainerId, wanted: &Wanted<'_>) -> ContainerPlan {
        let spec = self.spec(id, wanted);
        let (rootfs, owners) = (Rootfs::Directory(self.path("rootfs")), ImageOwners::Original);
        let context = PlanContext { id: id.clone(), rootfs, owners, facts: &self.facts };
        plan::container(&spec, &context).unwrap()
    }

    fn spec(&self, id: &ContainerId, wanted: &Wanted<'_>) -> Spec {
        let mut kinds = vec![LinuxNamespaceType::Mount];
        if wanted.own_pids {
            kinds.push(LinuxNamespaceType::Pid);
        }
        let namespace = |kind| LinuxNamespaceBuilder::default().typ(kind);
        let mut namespaces: Vec<_> = kinds.into_iter().map(|kind| namespace(kind).build().unwrap()).collect();
        if self.mapping.is_some() {
            use LinuxNamespaceType::{Ipc, Network, User, Uts};
            let pods = |kind| namespace(kind).path(plan::POD_NAMESPACE).build().unwrap();
            namespaces.extend([User, Network, Ipc, Uts].map(pods));
        }
        let mut linux = LinuxBuilder::default()
            .namespaces(namespaces)
            .cgroups_path(format!("{}/{}", self.cgroup, id.short()))
            .resources(resources(wanted.memory_limit_bytes))
            .masked_paths(Vec::new())
            .readonly_paths(Vec::new())
            .build()
            .unwrap();
        if let Some(mapping) = &self.mapping {
            linux.set_uid_mappings(Some(oci_ranges(&mapping.uids))).set_gid_mappings(Some(oci_ranges(&mapping.gids)));
        }
        let mut spec = SpecBuilder::default()
            .root(RootBuilder::default().path("rootfs").build().unwrap())
            .process(process(&["sh", "-c", wanted.command], wanted.io.terminal))
            .mounts(mounts(wanted.bind.as_deref()))
            .linux(linux)
            .build()
            .unwrap();
        // The builder's defaults are for another runtime.
        spec.set_hostname(None).set_domainname(None);
        spec
    }

    /// Asks for a container's start; the answer is still to come.
    pub fn begin(&mut self, wanted: &Wanted<'_>) -> (ContainerId, u64) {
        let id = ContainerId::from_random(cradle_sys::random::bytes().unwrap());
        let plan = self.plan(&id, wanted);
        let request = StartContainer { plan, io: wanted.io.clone() };
        let sequence = self.client.send(Request::StartContainer(Box::new(request)), Vec::new());
        (id, sequence)
    }

    pub fn start(&mut self, wanted: &Wanted<'_>) -> (ContainerId, i32) {
        let (id, sequence) = self.begin(wanted);
        match self.client.answer(sequence) {
            Ok((Reply::Started { pid, at }, _)) => {
                assert!(at.is_set());
                (id, pid)
            }
            other => panic!("{other:?}\n{}", self.journal()),
        }
    }

    /// A container that logs to the file of this name.
    pub fn start_logged(&mut self, command: &str, log: &str) -> (ContainerId, i32) {
        let mut wanted = script(command);
        wanted.io.log_path = Some(self.path(log).to_str().unwrap().to_owned());
        self.start(&wanted)
    }

    pub fn exec(
        &mut self,
        container: &ContainerId,
        command: &str,
        io: ExecIo,
        descriptors: Vec<OwnedFd>,
        timeout: Option<Duration>,
    ) -> (ExecId, Vec<OwnedFd>) {
        let (exec, _, descriptors) = self.exec_with_pid(container, command, io, descriptors, timeout);
        (exec, descriptors)
    }

    pub fn exec_with_pid(
        &mut self,
        container: &ContainerId,
        command: &str,
        io: ExecIo,
        descriptors: Vec<OwnedFd>,
        timeout: Option<Duration>,
    ) -> (ExecId, i32, Vec<OwnedFd>) {
        self.next_exec += 1;
        let exec = ExecId(self.next_exec);
        let of = self.plan(container, &script("true"));
        let terminal = matches!(io, ExecIo::Terminal { .. });
        let plan = plan::exec(&process(&["sh", "-c", command], terminal), &of, &self.facts).unwrap();
        let request = StartExec { container: container.clone(), exec, plan, io, timeout };
        match self.client.call_with(Request::StartExec(Box::new(request)), descriptors) {
            Ok((Reply::Started { pid, .. }, descriptors)) => (exec, pid, descriptors),
            other => panic!("{other:?}\n{}", self.journal()),
        }
    }

    pub fn cgroup(&self, id: &ContainerId) -> Cgroup {
        Cgroup::open(&format!("{}/{}", self.cgroup, id.short()), &self.facts.layout).unwrap()
    }

    /// Removes the group of an exec, as a container may.
    pub fn remove_exec_group(&self, id: &ContainerId, group: &str) {
        let path = format!("{}/{}/{group}", self.cgroup.trim_start_matches('/'), id.short());
        let trees = self.facts.layout.hierarchies().iter();
        assert_eq!(trees.filter(|tree| std::fs::remove_dir(tree.mount_point().join(&path)).is_ok()).count(), 1);
    }

    /// Moves a process into a group of its own beside the containers'.
    pub fn move_elsewhere(&self, pid: i32) -> Cgroup {
        let path = format!("{}/elsewhere", self.cgroup);
        cgroup::move_process(Pid::from_raw(pid).unwrap(), &path, &self.facts.layout).unwrap();
        Cgroup::open(&path, &self.facts.layout).unwrap()
    }

    /// Connects as a restarted daemon does.
    pub fn reconnect(&mut self) {
        self.client = self.second_client();
        self.client.hello();
    }

    pub fn second_client(&self) -> Client {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(self.path("pod/shim.sock")).unwrap()).unwrap();
        Client::new(socket)
    }

    /// Ends the shim as the daemon does, and looks at what is left.
    pub fn shut_down(mut self) {
        self.client.done(Request::Shutdown);
        self.wait_for_end();
    }

    /// After the answer to a shutdown.
    pub fn wait_for_end(mut self) {
        let (_, status) =
            rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        self.reaped = true;
        assert_eq!(status.exit_status(), Some(0));
        assert!(!self.path("pod/shim.sock").exists());
        self.assert_nothing_is_left();
    }

    pub fn kill(&mut self) {
        rustix::process::kill_process(self.pid, Signal::KILL).unwrap();
        rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty()).unwrap();
        self.reaped = true;
    }

    fn assert_nothing_is_left(&self) {
        let group = Cgroup::open(&self.cgroup, &self.facts.layout).unwrap();
        assert!(group.is_empty().unwrap(), "processes are left");
        for hierarchy in self.facts.layout.hierarchies() {
            let path = hierarchy.mount_point().join(self.cgroup.trim_start_matches('/'));
            let left = std::fs::read_dir(&path).map_or(0, |entries| {
                entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).count()
            });
            assert_eq!(left, 0, "groups are left in {path:?}");
        }
        group.remove().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.folder.path().to_str().unwrap()), "mounts are left");
    }
}

impl Drop for TestShim {
    /// Cleans up after a test that failed.
    fn drop(&mut self) {
        if !self.reaped {
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty());
            if std::thread::panicking() {
                println!("{}", self.journal());
            }
        }
        if let Ok(group) = Cgroup::open(&self.cgroup, &self.facts.layout) {
            let _ = group.kill();
            let _ = group.remove();
        }
    }
}

fn process(arguments: &[&str], terminal: bool) -> oci_spec::runtime::Process {
    ProcessBuilder::default()
        .args(arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        .env(vec!["PATH=/usr/bin:/bin".to_owned()])
        .cwd("/")
        .terminal(terminal)
        .user(UserBuilder::default().uid(0_u32).gid(0_u32).build().unwrap())
        .no_new_privileges(true)
        .build()
        .unwrap()
}

fn oci_ranges(ranges: &[IdRange]) -> Vec<LinuxIdMapping> {
    let builder = |range: &IdRange| {
        LinuxIdMappingBuilder::default().container_id(range.inside).host_id(range.outside).size(range.length)
    };
    ranges.iter().map(|range| builder(range).build().unwrap()).collect()
}

fn resources(memory_limit_bytes: Option<i64>) -> LinuxResources {
    let mut resources = LinuxResources::default();
    if let Some(bytes) = memory_limit_bytes {
        resources.set_memory(Some(LinuxMemoryBuilder::default().limit(bytes).swap(bytes).build().unwrap()));
    }
    resources.set_devices(None);
    resources
}

fn mounts(bind: Option<&Path>) -> Vec<oci_spec::runtime::Mount> {
    let mount = |at: &str, kind: &str, source: &str, options: &[&str]| {
        MountBuilder::default()
            .destination(at)
            .typ(kind)
            .source(source)
            .options(options.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
            .build()
            .unwrap()
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "mode=755"]),
        mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    ];
    for folder in ["/usr", "/bin", "/lib", "/lib64"] {
        if Path::new(folder).exists() {
            mounts.push(mount(folder, "bind", folder, &["rbind", "ro"]));
        }
    }
    if let Some(source) = bind {
        mounts.push(mount("/tmp", "bind", source.to_str().unwrap(), &["rbind"]));
    }
    mounts
}

fn make_rootfs(path: &Path) {
    for folder in ["proc", "dev", "tmp", "usr", "bin", "lib", "lib64"] {
        std::fs::create_dir_all(path.join(folder)).unwrap();
    }
}
