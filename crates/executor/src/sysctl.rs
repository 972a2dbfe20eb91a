//! Sysctls: which namespace one belongs to, and how it is written.

use std::io;

use crate::procfs::Procfs;

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Network,
    Ipc,
    Uts,
}

/// The namespace that the sysctl `name` (with dots or slashes) belongs to; none: the whole machine.
pub fn namespace(name: &str) -> Option<Owner> {
    let name = name.replace('/', ".");
    // An empty part, `.` and `..` would lead elsewhere.
    if name.contains("..") {
        return None;
    }
    let is_shm = name
        .strip_prefix("kernel.shm")
        .is_some_and(|rest| ["max", "all", "mni", "_rmid_forced", "_next_id"].contains(&rest));
    let is_ipc = is_shm
        || [
            "kernel.msgmax",
            "kernel.msgmnb",
            "kernel.msgmni",
            "kernel.msg_next_id",
            "kernel.sem",
            "kernel.sem_next_id",
        ]
        .contains(&name.as_str())
        || name.starts_with("fs.mqueue.");
    match name.as_str() {
        "kernel.hostname" | "kernel.domainname" => Some(Owner::Uts),
        _ if is_ipc => Some(Owner::Ipc),
        _ if name.starts_with("net.") => Some(Owner::Network),
        _ => None,
    }
}

/// Writes a sysctl of the calling process's namespaces.
///
/// A dot separates parts of the name and a slash stands for a dot in one (`net.ipv4.conf.eth0/1.forwarding`), or the
/// other way round when the first separator is a slash (sysctl(8)).
pub fn write(procfs: &Procfs, name: &str, value: &str) -> io::Result<()> {
    let mut path = String::with_capacity(4 + name.len());
    path.push_str("sys/");
    let swaps = name.find(['.', '/']).is_some_and(|first| name.as_bytes()[first] == b'.');
    path.extend(name.chars().map(|c| match c {
        '.' if swaps => '/',
        '/' if swaps => '.',
        other => other,
    }));
    procfs.write(&path, value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_belongs_to_a_namespace_or_to_the_machine() {
        for (name, owner) in [
            ("net.ipv4.ip_unprivileged_port_start", Some(Owner::Network)),
            ("net/ipv4/ip_forward", Some(Owner::Network)),
            ("kernel.shm_rmid_forced", Some(Owner::Ipc)),
            ("kernel.shmmax", Some(Owner::Ipc)),
            ("kernel.sem", Some(Owner::Ipc)),
            ("kernel.sem_x", None),
            ("fs.mqueue.msg_max", Some(Owner::Ipc)),
            ("kernel.hostname", Some(Owner::Uts)),
            ("kernel.shmx", None),
            ("kernel.core_pattern", None),
            ("vm.swappiness", None),
            ("fs.file-max", None),
            ("network.x", None),
            ("net/../kernel/core_pattern", None),
            ("net..kernel", None),
        ] {
            assert_eq!(namespace(name), owner, "{name}");
        }
    }
}
