//! Performs plans: starts a container's first process and further ones.
//!
//! The calling process, a shim with one thread, makes one clone3; the child does the steps of the plan in order and
//! executes the program; on the way into a pod's user namespace it makes a second one, its successor, that goes on. It
//! tells over a socket pair what failed (`line.rs`). [`begin`] and [`begin_exec`] return at once
//! with a [`Starting`]; [`start`] and [`exec`] return when the program runs or when nothing of the child is left.

mod child;
mod error;
mod failure;
pub(crate) mod identity;
mod idmap;
mod launch;
pub(crate) mod line;
mod mounts;
mod overlay;
pub mod probe;
mod program;
mod propagation;
mod root;
mod starting;
pub(crate) mod successor;
mod terminal;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cradle_sys::SingleThreaded;
use cradle_sys::process::NewNamespaces;

pub(crate) use self::error::class_of;
pub use self::error::{Reason, StartError};
pub(crate) use self::launch::kill;
pub use self::starting::{Progress, Starting, died_by, ended_with};

use self::idmap::Mappings;
use self::launch::{Child, Entering, Launch};
use crate::cgroup::{self, Cgroup, ExecGroup};
use crate::plan::{ContainerPlan, ExecPlan, Namespace, Step};
use crate::pod::{PidShare, PodNamespaces, Share};

/// What the process gets as its first three descriptors.
#[derive(Debug)]
pub enum Stdio {
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A new terminal of the container's own devpts, of this size. The plan must be one for a terminal.
    Terminal {
        columns: u16,
        rows: u16,
    },
}

/// A process whose execve has succeeded.
#[derive(Debug)]
pub struct Started {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// With [`Stdio::Terminal`].
    pub terminal_master: Option<OwnedFd>,
    /// The control group of the process: the container's, or the exec's own within it. Whoever reaps the process
    /// removes it.
    pub cgroup: Cgroup,
}

/// A running container, as [`start`] has returned it.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    /// Of its first process.
    pub pidfd: BorrowedFd<'a>,
    pub cgroup: &'a Cgroup,
}

/// Starts a container. Returns when its program runs, or with what failed.
pub fn start(
    plan: &ContainerPlan,
    pod: &PodNamespaces,
    stdio: Stdio,
    single: &SingleThreaded,
) -> Result<Started, StartError> {
    begin(plan, pod, stdio, single)?.wait(&plan.steps)
}

/// Begins to start a container, and does not wait for it.
pub fn begin(
    plan: &ContainerPlan,
    pod: &PodNamespaces,
    stdio: Stdio,
    single: &SingleThreaded,
) -> Result<Starting, StartError> {
    check_terminal(&plan.steps, &stdio)?;
    check_shared(plan, pod)?;
    let (new, pid_namespace) = pid_namespace(plan, pod)?;
    let new = new.with(NewNamespaces::MOUNT);
    let pid_namespace = pid_namespace.as_ref().map(AsFd::as_fd);
    let mappings = Mappings::of(&plan.steps, pod, single)?;
    let cgroup = cgroup::create(&plan.cgroup, &plan.layout).map_err(|source| StartError::Cgroup { source })?;
    let entrance = match cgroup.entrance() {
        Ok(entrance) => entrance,
        Err(source) => return finish(Err(StartError::OpenCgroup { source }), cgroup),
    };
    let mut launch = Launch {
        steps: &plan.steps,
        entrance: &entrance,
        new,
        pid_namespace,
        inner: NewNamespaces::default(),
        inner_pid_namespace: None,
        entering: Entering::Container { namespaces: &plan.namespaces, pod },
        mappings: &mappings,
    };
    if plan.user_namespace().is_some() {
        // All that is new is made in the user namespace, by the successor of a child that has only its own mounts.
        (launch.new, launch.pid_namespace) = (NewNamespaces::MOUNT, None);
        (launch.inner, launch.inner_pid_namespace) = (inner_namespaces(plan, new), pid_namespace);
    }
    let launched = launch::launch(&launch, stdio, single);
    finish(launched, cgroup)
}

/// Starts one more process in a container, in a control group of its own of this name within the container's.
pub fn exec(
    plan: &ExecPlan,
    container: Container<'_>,
    group: &str,
    stdio: Stdio,
    single: &SingleThreaded,
) -> Result<Started, StartError> {
    let group = container.cgroup.exec_child(group).map_err(|source| StartError::ExecCgroup { source })?;
    match begin_exec(plan, container.pidfd, &group, stdio, single) {
        Ok(starting) => starting.wait(&plan.steps),
        Err(error) => finish(Err(error), group.cgroup).map(Starting::into_started),
    }
}

/// Begins to start one more process in a container, in the group for it, and does not wait for it. After an error
/// nobody is in the group.
pub fn begin_exec(
    plan: &ExecPlan,
    container: BorrowedFd<'_>,
    group: &ExecGroup,
    stdio: Stdio,
    single: &SingleThreaded,
) -> Result<Starting, StartError> {
    check_terminal(&plan.steps, &stdio)?;
    let launch = Launch {
        steps: &plan.steps,
        entrance: &group.entrance,
        new: NewNamespaces::default(),
        pid_namespace: Some(container),
        inner: NewNamespaces::default(),
        inner_pid_namespace: None,
        entering: Entering::Exec { container },
        mappings: &Mappings::default(),
    };
    let Child { pid, pidfd, line } = launch::launch(&launch, stdio, single)?;
    Ok(Starting::new(pid, pidfd, line, group.cgroup.clone()))
}

fn finish(launched: Result<Child, StartError>, cgroup: Cgroup) -> Result<Starting, StartError> {
    match launched {
        Ok(Child { pid, pidfd, line }) => Ok(Starting::new(pid, pidfd, line, cgroup)),
        Err(error) => {
            // The reason for the failure is what matters; a group that cannot be removed now is removed with the
            // container's, or the pod's.
            let _ = cgroup.remove();
            Err(error)
        }
    }
}

fn check_terminal(steps: &[Step], stdio: &Stdio) -> Result<(), StartError> {
    let planned = steps.iter().any(|step| matches!(step, Step::OpenTerminal { .. }));
    if planned == matches!(stdio, Stdio::Terminal { .. }) {
        Ok(())
    } else {
        Err(StartError::Mismatch { what: "a terminal" })
    }
}

/// A child is in the namespaces of the shim, which are the pod's: a plan that wants the host's, where the pod has its
/// own, is not for this pod.
fn check_shared(plan: &ContainerPlan, pod: &PodNamespaces) -> Result<(), StartError> {
    for (what, namespace, share) in [
        ("the host's network namespace", &plan.namespaces.network, pod.plan.network),
        ("the host's IPC namespace", &plan.namespaces.ipc, pod.plan.ipc),
        ("the host's UTS namespace", &plan.namespaces.uts, pod.plan.uts),
    ] {
        if *namespace == Namespace::Host && share == Share::New {
            return Err(StartError::Mismatch { what });
        }
    }
    if plan.user_namespace() == pod.plan.user.as_ref() {
        Ok(())
    } else {
        Err(StartError::Mismatch { what: "the user namespace" })
    }
}

/// The PID namespace that the child is born into: a new one, or one to join.
fn pid_namespace(plan: &ContainerPlan, pod: &PodNamespaces) -> Result<(NewNamespaces, Option<OwnedFd>), StartError> {
    let none = NewNamespaces::default();
    let mut new = new_namespaces(plan);
    match &plan.namespaces.pid {
        Namespace::New => {
            new = new.with(NewNamespaces::PID);
            Ok((new, None))
        }
        Namespace::Host => Ok((none.with(new), None)),
        Namespace::Path(path) => {
            let opened = launch::open_namespace(path);
            let opened = opened.map_err(|errno| StartError::at("opening the PID namespace", path, errno))?;
            Ok((new, Some(opened)))
        }
        Namespace::Pod => match (pod.init(), pod.plan.pid) {
            (Some(init), _) => {
                let init =
                    init.try_clone_to_owned().map_err(|error| StartError::io("holding the pod's init", &error))?;
                Ok((new, Some(init)))
            }
            (None, PidShare::Host) => Ok((new, None)),
            (None, _) => Err(StartError::Mismatch { what: "a PID namespace of the pod" }),
        },
    }
}

fn inner_namespaces(plan: &ContainerPlan, new: NewNamespaces) -> NewNamespaces {
    let is_new = plan.namespaces.cgroup == Namespace::New;
    new.with(if is_new { NewNamespaces::CONTROL_GROUP } else { NewNamespaces::default() })
}

fn new_namespaces(plan: &ContainerPlan) -> NewNamespaces {
    let kinds = [
        (&plan.namespaces.network, NewNamespaces::NETWORK),
        (&plan.namespaces.ipc, NewNamespaces::IPC),
        (&plan.namespaces.uts, NewNamespaces::UTS),
    ];
    let new = kinds.into_iter().filter(|(namespace, _)| **namespace == Namespace::New);
    new.fold(NewNamespaces::default(), |all, (_, kind)| all.with(kind))
}
