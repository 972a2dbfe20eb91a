//! The child's side of a start: from clone3 to execve, step by step.
//!
//! Nothing here returns to the parent's code: what fails is told over the line, and the child ends.

mod user_namespace;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cradle_sys::SingleThreaded;
use cradle_sys::namespace::{self, Kinds};
use cradle_sys::process::{self, IgnoredSignals, NewNamespaces};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, fchdir, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, setsid, umask,
};

use super::failure::{Explain, StepError};
use super::launch::{Entering, Launch, open_namespace};
use super::line::{Failure, Line};
use super::mounts::{self, Masks};
use super::overlay::{self, Overlay};
use super::root::{Made, Root, kind_of};
use super::{Stdio, identity, program, propagation, terminal};
use crate::plan::mount_options::{Attributes, Propagation, PropagationKind};
use crate::plan::{
    Console, Depth, DeviceNode, Limit, Mount, MountSource, Namespace, NodeKind, Rootfs, SecurityModule, Step,
    UNLIMITED, Writable,
};
use crate::procfs::Procfs;

/// What the child knows on its way.
pub(super) struct Child<'a> {
    launch: &'a Launch<'a>,
    line: &'a Line,
    single: &'a SingleThreaded,
    procfs: Procfs,
    /// Columns and rows of the terminal to open.
    size: (u16, u16),
    root: Option<Root>,
    /// In the places of the steps: what they mount, as far as it was opened or made before.
    sources: Vec<Option<OwnedFd>>,
    masks: Masks,
    /// The folder that the last node or link was made in: `/dev`, for most.
    folder: Option<(PathBuf, OwnedFd)>,
    /// The working directory, if root must not enter it (NFS with root squashed); the user tries again.
    directory_refused: Option<&'a Path>,
    program: Option<CString>,
}

/// Ends the process instead of unwinding into the parent's code, should a step panic.
struct NeverReturn;

impl Drop for NeverReturn {
    fn drop(&mut self) {
        process::exit(EXIT_UNTOLD);
    }
}

/// The shim keeps its own number of pending signals small; its containers have what the machine grants.
fn allow_pending_signals() -> Result<(), Errno> {
    let limit = getrlimit(Resource::Sigpending);
    setrlimit(Resource::Sigpending, Rlimit { current: limit.maximum, ..limit })
}

const PRIVATE_TREE: Propagation = Propagation { kind: PropagationKind::Private, depth: Depth::Tree };

/// The exit code of a child whose failure was told, and of one that could not tell.
const EXIT_TOLD: i32 = 1;
const EXIT_UNTOLD: i32 = 2;

impl<'a> Child<'a> {
    pub(super) fn new(launch: &'a Launch<'a>, procfs: Procfs, line: &'a Line, single: &'a SingleThreaded) -> Self {
        Child {
            launch,
            line,
            single,
            procfs,
            size: (0, 0),
            root: None,
            sources: Vec::new(),
            masks: Masks::default(),
            folder: None,
            directory_refused: None,
            program: None,
        }
    }

    /// Does all steps; the last does not return.
    pub(super) fn run(mut self, stdio: Stdio, ignored: IgnoredSignals) -> ! {
        let _guard = NeverReturn;
        let failure = match self.prepare(stdio, ignored) {
            Ok(()) => self.perform_all(),
            Err(error) => Failure { step: None, errno: error.errno, detail: error.detail },
        };
        self.line.send_failure(&failure);
        process::exit(EXIT_TOLD)
    }

    fn perform_all(&mut self) -> Failure {
        let launch = self.launch;
        for (place, step) in (0_u16..).zip(launch.steps) {
            if let Err(error) = self.perform(usize::from(place), step) {
                return Failure { step: Some(place), errno: error.errno, detail: error.detail };
            }
        }
        Failure { step: None, errno: 0, detail: "the plan executes no program".into() }
    }

    /// Everything before the first step: being tied to the shim, standard streams, control groups, namespaces.
    fn prepare(&mut self, stdio: Stdio, ignored: IgnoredSignals) -> Result<(), StepError> {
        self.die_with_shim()?;
        // Processes of the container that can see this one must not look into it: it has the shim's memory and program.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        process::default_signals(ignored)?;
        allow_pending_signals()?;
        setsid().explain(|| "session".into())?;
        umask(Mode::empty());
        for tasks in self.launch.entrance.tasks() {
            rustix::io::write(tasks, b"0").explain(|| "joining the control group".into())?;
        }
        match stdio {
            Stdio::Pipes { stdin, stdout, stderr } => {
                rustix::stdio::dup2_stdin(stdin)?;
                rustix::stdio::dup2_stdout(stdout)?;
                rustix::stdio::dup2_stderr(stderr)?;
            }
            Stdio::Terminal { columns, rows } => self.size = (columns, rows),
        }
        self.enter_namespaces()
    }

    fn enter_namespaces(&mut self) -> Result<(), StepError> {
        let namespaces = match &self.launch.entering {
            Entering::Container { namespaces, .. } => namespaces,
            Entering::Exec { container } => {
                let kinds = Kinds::MOUNT
                    | Kinds::NETWORK
                    | Kinds::INTER_PROCESS_COMMUNICATION
                    | Kinds::HOST_NAME_AND_NIS_DOMAIN_NAME
                    | Kinds::CONTROL_GROUP;
                namespace::enter(*container, kinds, self.single).explain(|| "entering the container".into())?;
                let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
                self.root = Some(Root::new(root.explain(|| "/".into())?));
                return Ok(());
            }
        };
        for (namespace, kind) in [
            (&namespaces.network, Kinds::NETWORK),
            (&namespaces.ipc, Kinds::INTER_PROCESS_COMMUNICATION),
            (&namespaces.uts, Kinds::HOST_NAME_AND_NIS_DOMAIN_NAME),
            (&namespaces.cgroup, Kinds::CONTROL_GROUP),
        ] {
            if let Namespace::Path(path) = namespace {
                open_namespace(path)
                    .and_then(|fd| namespace::enter(fd.as_fd(), kind, self.single))
                    .explain(|| format!("entering the namespace {}", path.display()))?;
            }
        }
        // Its root is the group that the process is in at this moment: after it has joined. One that a user namespace
        // shall own is made there.
        if namespaces.cgroup == Namespace::New && self.launch.inner == NewNamespaces::default() {
            namespace::unshare(Kinds::CONTROL_GROUP, self.single).explain(|| "a new cgroup namespace".into())?;
        }
        Ok(())
    }

    fn perform(&mut self, place: usize, step: &'a Step) -> Result<(), StepError> {
        match step {
            Step::OpenBindSources => self.open_bind_sources(),
            Step::IsolateMounts => Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?),
            Step::MountRoot { rootfs, label } => self.mount_root(rootfs, label.as_deref()),
            Step::Mount(mount) => self.mount(place, mount),
            Step::ChangeMount { at, attributes } => {
                let mount = self.root()?.open(at, OFlags::PATH)?;
                Ok(mounts::shape(&mount, *attributes, None, None)?)
            }
            Step::MakeDirectory { at } => Ok(self.root()?.make(at, Made::Directory).map(drop)?),
            Step::MakeNode(node) => match self.take_source(place) {
                Some(source) => Ok(mounts::attach(&source, &self.mount_point(&node.at, Made::File)?)?),
                None => self.make_node(node),
            },
            Step::MakeLink { at, target } => self.make_link(at, target),
            Step::OpenTerminal { console } => self.open_terminal(*console),
            Step::MaskPath(path) => self.mask(path),
            Step::ProtectPath(path) => match self.root()?.open(path, OFlags::PATH) {
                Err(Errno::NOENT) => Ok(()),
                opened => Ok(mounts::protect(&opened?)?),
            },
            Step::EnterRoot => self.enter_root(),
            Step::PropagateRoot(propagation) => {
                Ok(mounts::shape(self.root()?.fd(), Attributes::default(), Some(*propagation), None)?)
            }
            Step::SetHostname(name) => Ok(rustix::system::sethostname(name.as_bytes())?),
            Step::SetDomainname(name) => Ok(rustix::system::setdomainname(name.as_bytes())?),
            Step::SetSysctl { name, value } => Ok(crate::sysctl::write(&self.procfs, name, value)?),
            Step::MapOwners { folders, mapping } => self.map_owners(folders, mapping),
            Step::MakeSources => self.make_sources(),
            Step::EnterUserNamespace { stdio_owner, .. } => self.enter_user_namespace(*stdio_owner),
            process => self.perform_on_process(process),
        }
    }

    fn perform_on_process(&mut self, step: &'a Step) -> Result<(), StepError> {
        match step {
            Step::JoinKeyring(name) => match process::join_session_keyring(name) {
                // A kernel without keyrings has none to be shared.
                Err(Errno::NOSYS) => Ok(()),
                result => Ok(result?),
            },
            Step::SetOomScoreAdj(score) => {
                Ok(self.procfs.write("thread-self/oom_score_adj", score.to_string().as_bytes())?)
            }
            Step::SetLabel { module, label } => self.set_label(*module, label),
            Step::SetUmask(mask) => {
                umask(Mode::from_raw_mode(*mask));
                Ok(())
            }
            Step::EnterDirectory(path) => self.enter_directory(path),
            Step::SetLimit(limit) => set_limit(limit),
            Step::AllowLimit(limit) => user_namespace::allow_limit(limit),
            Step::LimitCapabilities(kept) => Ok(identity::limit_capabilities(*kept)?),
            Step::SetIdentity(identity) => {
                identity::give_stdio(identity.uid);
                identity::become_user(identity)?;
                // A machine may be set to make processes that change their user readable again (fs.suid_dumpable).
                set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
                match self.directory_refused.take() {
                    Some(path) => self.change_directory(path),
                    None => Ok(()),
                }
            }
            Step::SetCapabilities(sets) => Ok(identity::set(sets)?),
            Step::DieWithShim => self.die_with_shim(),
            Step::CloseDescriptors => Ok(process::close_on_exec_from(3)?),
            Step::FindProgram { name, search } => {
                self.program = Some(program::find(name, search)?);
                Ok(())
            }
            Step::NoNewPrivileges => Ok(rustix::thread::set_no_new_privs(true)?),
            Step::InstallFilter(filter) => Ok(cradle_sys::bpf::install_seccomp_filter(&filter.filter, filter.flags)?),
            Step::Execute { arguments, environment } => {
                let program = self.program.take().ok_or_else(|| StepError::saying("no program was found"))?;
                self.line.send_ready()?;
                Err(program::execute(&program, arguments, environment))
            }
            _ => Err(StepError::saying("this step is not one of a process")),
        }
    }

    fn root(&self) -> Result<&Root, StepError> {
        self.root.as_ref().ok_or_else(|| StepError::saying("the root is not mounted yet"))
    }

    /// The kernel forgets the tie when the process changes its user or group, and a shim that has died before the tie was
    /// made is noticed by the line.
    fn die_with_shim(&self) -> Result<(), StepError> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if self.line.is_cut() { Err(StepError::saying("the shim is gone")) } else { Ok(()) }
    }

    /// Copies of the host's mounts, taken before anything is isolated: those that shall exchange mounts with the host
    /// stay its peers.
    fn open_bind_sources(&mut self) -> Result<(), StepError> {
        let mut sources: Vec<Option<OwnedFd>> = Vec::new();
        sources.resize_with(self.launch.steps.len(), || None);
        for (step, source) in self.launch.steps.iter().zip(&mut sources) {
            let Step::Mount(mount) = step else { continue };
            *source = match (&mount.what, &self.launch.entering) {
                (MountSource::Bind { source, depth, mapping }, _) => {
                    let named = || format!("bind source {} for {}", source.display(), mount.at.display());
                    let copied = mounts::copy_path(source, *depth).explain(named)?;
                    if !propagation::allows(&self.procfs, source, mount.propagation).explain(named)? {
                        return Err(StepError::saying(format!("{}: it is not on a shared mount", named())));
                    }
                    if let Some(mapping) = mapping {
                        self.map(&copied, mapping).explain(|| format!("mapping the owners of {}", named()))?;
                    }
                    Some(copied)
                }
                (MountSource::PodShm, Entering::Container { pod, .. }) => {
                    let copied = pod.shm.open_copy(&self.procfs, self.single);
                    Some(copied.explain(|| "the pod's shared memory".into())?)
                }
                _ => None,
            };
        }
        self.sources = sources;
        Ok(())
    }

    /// The root is mounted over a folder of its own, which is the container's alone and exists for sure.
    fn mount_root(&mut self, rootfs: &Rootfs, label: Option<&str>) -> Result<(), StepError> {
        let folder = match rootfs {
            Rootfs::Overlay { upper, .. } => upper,
            Rootfs::Directory(path) => path,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || openat(CWD, folder, flags, Mode::empty()).explain(|| folder.display().to_string());
        let at = open()?;
        match rootfs {
            Rootfs::Overlay { lower, upper, work } => {
                let writable = Writable { upper: upper.clone(), work: work.clone() };
                Overlay { lower, writable: Some(&writable), label }.mount(&at)?;
            }
            Rootfs::Directory(_) => {
                let tree = mounts::copy(at.as_fd(), Depth::Tree)?;
                mounts::shape(&tree, Attributes::default(), Some(PRIVATE_TREE), None)?;
                mounts::attach(&tree, &at)?;
            }
        }
        self.root = Some(Root::new(open()?));
        Ok(())
    }

    fn mount(&mut self, place: usize, mount: &Mount) -> Result<(), StepError> {
        let Mount { at, what, attributes, propagation } = mount;
        let propagation = *propagation;
        match what {
            MountSource::New { kind, source, options } => {
                let point = if matches!(kind.as_str(), "proc" | "sysfs") {
                    self.direct_mount_point(at)?
                } else {
                    self.mount_point(at, Made::Directory)?
                };
                let flags = attributes.mount.set | attributes.tree.set;
                let made = match self.take_source(place) {
                    Some(made) => made,
                    None => mounts::new_filesystem(kind, source, options, flags)?,
                };
                mounts::shape(&made, Attributes::default(), propagation, None)?;
                Ok(mounts::attach(&made, &point)?)
            }
            MountSource::Bind { .. } | MountSource::PodShm => {
                let source = self.take_source(place);
                let source = source.ok_or_else(|| StepError::saying("its source was not opened"))?;
                mounts::shape(&source, *attributes, Some(propagation.unwrap_or(private_as(what))), None)?;
                let kind = kind_of(&source)?;
                let point = self.mount_point(at, kind)?;
                match (mounts::attach(&source, &point), kind) {
                    // The kernel has one error for many things; this one people meet.
                    (Err(Errno::INVAL), Made::Directory) if kind_of(&point)? != kind => Err(Errno::NOTDIR.into()),
                    (Err(Errno::INVAL), Made::File) if kind_of(&point)? != kind => Err(Errno::ISDIR.into()),
                    (attached, _) => Ok(attached?),
                }
            }
            MountSource::Overlay { lower, writable, sub_path } => {
                let shown = match self.take_source(place) {
                    Some(shown) => shown,
                    None => overlay::open(lower, writable.as_ref(), sub_path.as_deref())?,
                };
                mounts::shape(&shown, *attributes, Some(propagation.unwrap_or(private_as(what))), None)?;
                let point = self.mount_point(at, kind_of(&shown)?)?;
                Ok(mounts::attach(&shown, &point)?)
            }
        }
    }

    fn take_source(&mut self, place: usize) -> Option<OwnedFd> {
        self.sources.get_mut(place).and_then(Option::take)
    }

    fn mount_point(&self, at: &Path, made: Made) -> Result<OwnedFd, StepError> {
        self.root()?.make(at, made).explain(|| "mount point".into())
    }

    /// A mount point of proc or sysfs: somebody who could redirect it could have the runtime read or mask another file
    /// than it believes.
    fn direct_mount_point(&self, at: &Path) -> Result<OwnedFd, StepError> {
        let root = self.root()?;
        match root.open_directly(at, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                root.make(at, Made::Directory).explain(|| "mount point".into())?;
                root.open_directly(at, OFlags::PATH | OFlags::DIRECTORY).explain(|| "mount point".into())
            }
            Err(Errno::LOOP) => Err(StepError::saying("the mount point must not be a symbolic link")),
            opened => opened.explain(|| "mount point".into()),
        }
    }

    /// The folder that `at` lies in and its name there.
    fn folder<'p>(&mut self, at: &'p Path) -> Result<(&OwnedFd, &'p Path), StepError> {
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { return Err(Errno::INVAL.into()) };
        if self.folder.as_ref().is_none_or(|(known, _)| known != parent) {
            let opened = self.root()?.make(parent, Made::Directory).explain(|| parent.display().to_string())?;
            self.folder = Some((parent.to_owned(), opened));
        }
        let (_, folder) = self.folder.as_ref().ok_or(Errno::INVAL)?;
        Ok((folder, Path::new(name)))
    }

    fn make_node(&mut self, node: &DeviceNode) -> Result<(), StepError> {
        use rustix::fs::{AtFlags, FileType, Gid, Uid, chownat, mknodat, statat};
        let (kind, device) = file_kind(node.kind);
        let (folder, name) = self.folder(&node.at)?;
        match mknodat(folder, name, kind, Mode::from_raw_mode(node.mode), device) {
            Err(Errno::EXIST) => {
                let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let same = FileType::from_raw_mode(found.st_mode) == kind && found.st_rdev == device;
                return if same { Ok(()) } else { Err(Errno::EXIST.into()) };
            }
            made => made?,
        }
        if (node.uid, node.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
            chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn make_link(&mut self, at: &Path, target: &Path) -> Result<(), StepError> {
        let (folder, name) = self.folder(at)?;
        match rustix::fs::symlinkat(target, folder, name) {
            Err(Errno::EXIST) => Ok(()),
            made => Ok(made?),
        }
    }

    fn open_terminal(&self, console: Console) -> Result<(), StepError> {
        let root = self.root()?;
        let (columns, rows) = self.size;
        let (master, slave) = terminal::open(root, columns, rows)?;
        terminal::control(&slave)?;
        terminal::bind_console(root, &slave, console)?;
        Ok(self.line.send_terminal(&master)?)
    }

    fn mask(&mut self, path: &Path) -> Result<(), StepError> {
        let at = match self.root()?.open(path, OFlags::PATH) {
            // Nothing there, or something whose parent is a file: nothing to hide.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            opened => opened?,
        };
        match kind_of(&at)? {
            Made::Directory => self.masks.cover_directory(&at),
            Made::File => self.masks.cover_file(&at),
        }
    }

    /// pivot_root(2) with both folders the same: the old root comes to lie on the new one, and is let go.
    fn enter_root(&mut self) -> Result<(), StepError> {
        // Descriptors from before still work, but nothing must be resolved from them any more.
        self.folder = None;
        fchdir(self.root()?.fd())?;
        rustix::process::pivot_root(".", ".").explain(|| "pivot_root".into())?;
        unmount(".", UnmountFlags::DETACH).explain(|| "the host's root".into())?;
        Ok(rustix::process::chdir("/")?)
    }

    fn set_label(&self, module: SecurityModule, label: &str) -> Result<(), StepError> {
        match module {
            SecurityModule::Selinux => Ok(self.procfs.write("thread-self/attr/exec", label.as_bytes())?),
            SecurityModule::AppArmor => {
                let value = format!("exec {label}");
                // With several security modules, AppArmor has a folder of its own.
                match self.procfs.write("thread-self/attr/apparmor/exec", value.as_bytes()) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        Ok(self.procfs.write("thread-self/attr/exec", value.as_bytes())?)
                    }
                    written => Ok(written?),
                }
            }
        }
    }

    fn enter_directory(&mut self, path: &'a Path) -> Result<(), StepError> {
        match self.change_directory(path) {
            Err(error) if error.is(Errno::ACCESS) => {
                self.directory_refused = Some(path);
                Ok(())
            }
            result => result,
        }
    }

    fn change_directory(&self, path: &Path) -> Result<(), StepError> {
        let directory = self.root()?.open(path, OFlags::PATH | OFlags::DIRECTORY)?;
        fchdir(&directory)?;
        // A working directory outside the root would be a way to the host.
        if rustix::process::getcwd(Vec::new())?.as_bytes().starts_with(b"/") {
            Ok(())
        } else {
            Err(StepError::saying("it lies outside of the container"))
        }
    }
}

fn file_kind(kind: NodeKind) -> (rustix::fs::FileType, u64) {
    use rustix::fs::{FileType, makedev};
    match kind {
        NodeKind::Character { major, minor } => (FileType::CharacterDevice, makedev(major, minor)),
        NodeKind::Block { major, minor } => (FileType::BlockDevice, makedev(major, minor)),
        NodeKind::Fifo => (FileType::Fifo, 0),
    }
}

/// A copy of a mount is a peer of the original unless it is made private, all that was copied.
fn private_as(what: &MountSource) -> Propagation {
    let depth = match what {
        MountSource::Bind { depth, .. } => *depth,
        _ => Depth::Mount,
    };
    Propagation { kind: PropagationKind::Private, depth }
}

fn set_limit(limit: &Limit) -> Result<(), StepError> {
    let value = |value| (value != UNLIMITED).then_some(value);
    let new = Rlimit { current: value(limit.soft), maximum: value(limit.hard) };
    Ok(rustix::process::setrlimit(limit.resource.resource(), new)?)
}
