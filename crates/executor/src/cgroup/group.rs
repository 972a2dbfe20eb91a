//! skeleton
use std::os::fd::OwnedFd;

use cradle_domain::{Class, Classified, Signal};
use rustix::process::Pid;

use super::{CgroupPlan, Layout};

macro_rules! skeleton_error {
    ($($name:ident)*) => { $(
        #[derive(Debug, thiserror::Error)]
        #[error("skeleton")]
        pub struct $name;
        impl Classified for $name {
            fn class(&self) -> Class {
                Class::Bug
            }
        }
    )* };
}

skeleton_error! { CreateError AttachError UpdateError KillError RemoveError StatsError }

#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Stats {}

#[derive(Debug)]
pub struct Cgroup {}

pub fn create(_plan: &CgroupPlan, _layout: &Layout) -> Result<Cgroup, CreateError> {
    unimplemented!()
}

pub fn move_process(_pid: Pid, _path: &str, _layout: &Layout) -> Result<(), AttachError> {
    unimplemented!()
}

impl Cgroup {
    /// The group at `path`, which exists already.
    pub fn open(_path: &str, _layout: &Layout) -> Result<Cgroup, CreateError> {
        unimplemented!()
    }
    /// Moves another process, with all its threads, into the group.
    pub fn attach(&self, _pid: Pid) -> Result<(), AttachError> {
        unimplemented!()
    }
    /// Moves the calling thread (of a single-threaded process) into the group: on v1 without the kernel's grace period.
    pub fn join(&self) -> Result<(), AttachError> {
        unimplemented!()
    }
    /// Files into which a single-threaded child writes "0" to join the group.
    pub fn attach_fds(&self) -> Result<Vec<OwnedFd>, AttachError> {
        unimplemented!()
    }
    /// For CLONE_INTO_CGROUP: the directory in the unified tree (v2, and v1 with a unified tree); none on pure v1.
    pub fn directory(&self) -> Result<Option<OwnedFd>, AttachError> {
        unimplemented!()
    }
    pub fn update(&self, _plan: &CgroupPlan) -> Result<(), UpdateError> {
        unimplemented!()
    }
    pub fn signal_all(&self, _signal: Signal) -> Result<(), KillError> {
        unimplemented!()
    }
    /// Sends SIGKILL to every process of the subtree; does not wait for their deaths.
    pub fn kill(&self) -> Result<(), KillError> {
        unimplemented!()
    }
    pub fn is_empty(&self) -> Result<bool, KillError> {
        unimplemented!()
    }
    pub fn processes(&self) -> Result<Vec<Pid>, KillError> {
        unimplemented!()
    }
    pub fn remove(&self) -> Result<(), RemoveError> {
        unimplemented!()
    }
    pub fn oom_kills(&self) -> Result<u64, StatsError> {
        unimplemented!()
    }
    pub fn stats(&self) -> Result<Stats, StatsError> {
        unimplemented!()
    }
    /// A group of one exec, which lies in the container's group and can be killed alone.
    pub fn exec_child(&self, _name: &str) -> Result<Cgroup, CreateError> {
        unimplemented!()
    }
}
