//! Changing the limits of a group with processes in it: all of them or none.

use cradle_domain::{Class, Classified};

use super::file::{self, FileError};
use super::group::Cgroup;
use super::plan::{CgroupPlan, IfMissing, Write};
use super::write::{LimitError, perform};

/// The limits of a group could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    #[error("reading the present limits of the control group {path}")]
    Read { path: String, source: FileError },
    #[error("changing the limits of the control group {path}")]
    Limit { path: String, source: LimitError },
    #[error("changing the limits of the control group {path}, and then going back to the earlier ones ({restore})")]
    Restore { path: String, restore: String, source: LimitError },
}

impl Classified for UpdateError {
    fn class(&self) -> Class {
        match self {
            UpdateError::Read { source, .. } => source.class(),
            UpdateError::Limit { source, .. } => source.class(),
            UpdateError::Restore { .. } => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            UpdateError::Limit { source, .. } => source.hint(),
            UpdateError::Read { .. } | UpdateError::Restore { .. } => None,
        }
    }
}

impl Cgroup {
    /// Applies the writes of a plan. If one fails, those before it are taken back.
    ///
    /// Devices stay as they were when the group was made; the path of the plan is not looked at.
    pub fn update(&self, plan: &CgroupPlan) -> Result<(), UpdateError> {
        let path = || format!("/{}", self.path().as_str());
        let mut earlier = Vec::with_capacity(plan.writes.len());
        for write in &plan.writes {
            earlier.extend(self.present(write).map_err(|source| UpdateError::Read { path: path(), source })?);
        }
        self.make_room(plan).map_err(|source| UpdateError::Limit { path: path(), source })?;
        let Err(source) = perform(self, &plan.writes) else { return Ok(()) };
        earlier.reverse();
        match perform(self, &earlier) {
            Ok(()) => Err(UpdateError::Limit { path: path(), source }),
            Err(restore) => Err(UpdateError::Restore {
                path: path(),
                restore: cradle_domain::failure::Chain(&restore).to_string(),
                source,
            }),
        }
    }

    /// The write that brings back what is there now.
    fn present(&self, write: &Write) -> Result<Option<Write>, FileError> {
        let Some(tree) = self.tree(&write.controller) else { return Ok(None) };
        let read = |name: &str| file::read_if_there(tree, &format!("{}/{name}", self.path_in(tree)));
        let restore = |file: &std::borrow::Cow<'static, str>, new: &str, old: &str| Write {
            controller: write.controller.clone(),
            file: file.clone(),
            value: earlier_value(file, new, old),
            if_missing: IfMissing::Fail,
        };
        if let Some(old) = read(&write.file)? {
            return Ok(Some(restore(&write.file, &write.value, &old)));
        }
        match &write.if_missing {
            IfMissing::Instead { file, value } => Ok(read(file)?.map(|old| restore(file, value, &old))),
            IfMissing::Fail | IfMissing::Skip => Ok(None),
        }
    }

    /// cgroup v2 meets a limit below the present usage with the OOM killer. So the group is asked to give back memory
    /// first, and the limit is refused when it cannot.
    fn make_room(&self, plan: &CgroupPlan) -> Result<(), LimitError> {
        let Some(tree) = self.tree("memory").filter(|tree| tree.is_unified()) else { return Ok(()) };
        let Some(write) = plan.writes.iter().rev().find(|write| write.file == "memory.max") else { return Ok(()) };
        let Ok(limit) = write.value.parse::<u64>() else { return Ok(()) };
        let path = |file: &str| format!("{}/{file}", self.path_in(tree));
        let usage = || {
            let text = file::read(tree, &path("memory.current")).map_err(|source| LimitError::Refused { source })?;
            Ok::<u64, LimitError>(text.trim().parse().unwrap_or(0))
        };
        let before = usage()?;
        if before <= limit {
            return Ok(());
        }
        // What could not be reclaimed, or a kernel before 5.19 that knows no such file, shows in the usage.
        let _ = file::write(tree, &path("memory.reclaim"), &(before - limit).to_string());
        match usage()? {
            usage if usage <= limit => Ok(()),
            usage => Err(LimitError::BelowUsage { file: "memory.max".to_owned(), value: write.value.clone(), usage }),
        }
    }
}

/// What to write into `file` so that it holds again what it held before `new` was written.
///
/// Some files have a line for each device, and a write changes the one that begins with its name.
fn earlier_value(file: &str, new: &str, old: &str) -> String {
    if file == "memory.oom_control" {
        return file::keyed(old, "oom_kill_disable").unwrap_or(0).to_string();
    }
    let default = || old.lines().next().unwrap_or("").trim().to_owned();
    let Some((key, _)) = new.split_once(' ') else { return default() };
    let is_per_device = file == "rdma.max" || file == "net_prio.ifpriomap" || key.contains(':');
    if !is_per_device {
        return default();
    }
    let line = old.lines().find(|line| line.split(' ').next() == Some(key));
    match (line, file) {
        (Some(line), _) => line.trim().to_owned(),
        (None, "io.max") => format!("{key} rbps=max wbps=max riops=max wiops=max"),
        (None, "io.weight") => format!("{key} default"),
        (None, "rdma.max") => format!("{key} hca_handle=max hca_object=max"),
        (None, _) => format!("{key} 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_value_of_a_file_is_written_in_the_form_that_it_reads() {
        for (file, new, old, expected) in [
            ("pids.max", "5", "max\n", "max"),
            ("cpu.max", "10000 100000", "max 100000\n", "max 100000"),
            ("cpuset.cpus", "0", "\n", ""),
            ("io.weight", "200", "default 100\n8:0 50\n", "default 100"),
            ("io.weight", "8:0 200", "default 100\n8:0 50\n", "8:0 50"),
            ("io.weight", "8:16 200", "default 100\n8:0 50\n", "8:16 default"),
            (
                "io.max",
                "8:0 rbps=5",
                "8:0 rbps=max wbps=9 riops=max wiops=max\n",
                "8:0 rbps=max wbps=9 riops=max wiops=max",
            ),
            ("io.max", "8:0 rbps=5", "", "8:0 rbps=max wbps=max riops=max wiops=max"),
            ("blkio.throttle.read_bps_device", "8:0 5", "8:1 7\n", "8:0 0"),
            ("rdma.max", "mlx5 hca_handle=2", "mlx5 hca_handle=max hca_object=3\n", "mlx5 hca_handle=max hca_object=3"),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\n", "0"),
        ] {
            assert_eq!(earlier_value(file, new, old), expected, "{file}: {new} over {old:?}");
        }
    }
}
