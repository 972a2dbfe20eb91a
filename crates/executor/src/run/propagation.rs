//! Whether the source of a bind mount exchanges mounts with anybody, as a volume that asks for propagation expects.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::plan::mount_options::{Propagation, PropagationKind};
use crate::procfs::Procfs;

/// Whether the mount that `source` lies on can give what `asked` promises: mounts of the host appear in the container if
/// it is shared, or a slave itself; those of the container appear on the host only if it is shared.
///
/// Asked for nothing, nothing is looked at: the mount table of a node is long.
pub(super) fn allows(procfs: &Procfs, source: &Path, asked: Option<Propagation>) -> io::Result<bool> {
    let kind = match asked.map(|asked| asked.kind) {
        Some(kind @ (PropagationKind::Shared | PropagationKind::Slave)) => kind,
        _ => return Ok(true),
    };
    let file = openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let info = procfs.read(&format!("thread-self/fdinfo/{number}"))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim).unwrap_or_default().to_owned();
    Ok(exchanges(&procfs.read("thread-self/mountinfo")?, &id, kind))
}

/// Looks the mount up in a table (proc_pid_mountinfo(5)): its optional fields stand between the sixth and a dash.
fn exchanges(table: &str, id: &str, kind: PropagationKind) -> bool {
    let line = table.lines().find(|line| line.split(' ').next() == Some(id));
    let mut fields = line.into_iter().flat_map(|line| line.split(' ').skip(6)).take_while(|field| *field != "-");
    fields.any(|field| field.starts_with("shared:") || (kind == PropagationKind::Slave && field.starts_with("master:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_exchanges_mounts_if_its_optional_fields_say_so() {
        let table = "\
21 1 8:1 / / rw - ext4 /dev/vda shared:1
22 21 0:5 / /shared rw,nosuid shared:7 - tmpfs t rw
23 21 0:6 / /slave rw master:7 - tmpfs t rw
24 21 0:7 / /both rw shared:8 master:7 - tmpfs t rw
";
        for (id, slave, shared) in
            [("21", false, false), ("22", true, true), ("23", true, false), ("24", true, true), ("2", false, false)]
        {
            assert_eq!(exchanges(table, id, PropagationKind::Slave), slave, "{id}");
            assert_eq!(exchanges(table, id, PropagationKind::Shared), shared, "{id}");
        }
    }
}
