//! Performing the writes of a plan.
//!
//! Values of one controller constrain each other: the memory limit may not exceed that of memory and swap, the burst
//! not the quota, an idle group has no shares. The order that the kernel accepts depends on the values that are there
//! now, so a write that it calls inconsistent (EINVAL) is tried once more after the others.

use cradle_domain::{Class, Classified};
use rustix::io::Errno;

use super::file::{self, FileError};
use super::group::Cgroup;
use super::plan::{IfMissing, Write};

/// One value of a plan could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    #[error("setting {file} to {value:?}: the kernel does not offer this file")]
    NoFile { file: String, value: String },
    #[error("setting {file} to {value}: the group uses {usage} bytes now")]
    BelowUsage { file: String, value: String, usage: u64 },
    #[error("setting a limit")]
    Refused { source: FileError },
}

impl LimitError {
    fn is_inconsistent(&self) -> bool {
        matches!(self, LimitError::Refused { source } if source.errno() == Errno::INVAL)
    }
}

impl Classified for LimitError {
    fn class(&self) -> Class {
        match self {
            LimitError::NoFile { .. } | LimitError::BelowUsage { .. } => Class::Refused,
            LimitError::Refused { source } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            LimitError::NoFile { file, .. } if file.contains("swap") || file.contains("memsw") => {
                Some("boot the kernel with swapaccount=1, or leave the swap limit out".to_owned())
            }
            LimitError::NoFile { .. } | LimitError::Refused { .. } => None,
            LimitError::BelowUsage { .. } => Some("ask for a limit above what is used".to_owned()),
        }
    }
}

/// Performs writes in their order, as far as the kernel accepts it.
pub(super) fn perform(group: &Cgroup, writes: &[Write]) -> Result<(), LimitError> {
    let mut deferred = Vec::new();
    for write in writes {
        match perform_one(group, write) {
            Err(error) if error.is_inconsistent() => deferred.push(write),
            done => done?,
        }
    }
    deferred.into_iter().try_for_each(|write| perform_one(group, write))
}

fn perform_one(group: &Cgroup, write: &Write) -> Result<(), LimitError> {
    let no_file = || LimitError::NoFile { file: write.file.to_string(), value: write.value.clone() };
    let Some(tree) = group.tree(&write.controller) else { return Err(no_file()) };
    let path = |file: &str| format!("{}/{file}", group.path_in(tree));
    let missing = match file::write(tree, &path(&write.file), &write.value) {
        Err(error) if error.errno() == Errno::NOENT => error,
        Err(error) => return Err(refused(group, write, error)),
        Ok(()) => return Ok(()),
    };
    match &write.if_missing {
        IfMissing::Skip => Ok(()),
        IfMissing::Fail if group.exists_in(tree) => Err(no_file()),
        IfMissing::Fail => Err(LimitError::Refused { source: missing }),
        IfMissing::Instead { file, value } => match file::write(tree, &path(file), value) {
            Err(error) if error.errno() == Errno::NOENT => Err(no_file()),
            Err(source) => Err(LimitError::Refused { source }),
            Ok(()) => Ok(()),
        },
    }
}

/// cgroup v1 answers EBUSY where it cannot reclaim enough memory for a new limit.
fn refused(group: &Cgroup, write: &Write, source: FileError) -> LimitError {
    let usage_file = match &*write.file {
        "memory.limit_in_bytes" => "memory.usage_in_bytes",
        "memory.memsw.limit_in_bytes" => "memory.memsw.usage_in_bytes",
        _ => return LimitError::Refused { source },
    };
    if source.errno() != Errno::BUSY {
        return LimitError::Refused { source };
    }
    let usage = group
        .tree("memory")
        .and_then(|tree| file::read(tree, &format!("{}/{usage_file}", group.path_in(tree))).ok()?.trim().parse().ok());
    match usage {
        Some(usage) => LimitError::BelowUsage { file: write.file.to_string(), value: write.value.clone(), usage },
        None => LimitError::Refused { source },
    }
}
