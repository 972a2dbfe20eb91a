//! Kernel parameters of the host's network. `/proc/sys/net` is that of the network namespace of the calling thread.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use cradle_domain::{Class, Classified};

/// A parameter that could not be set.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {} to {value}", path.display())]
pub struct SysctlError {
    path: PathBuf,
    value: &'static str,
    source: io::Error,
}

impl Classified for SysctlError {
    fn class(&self) -> Class {
        match self.source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Class::Denied,
            _ => Class::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        Some("set it before the daemon starts, or let the daemon write /proc/sys/net".into())
    }
}

/// Whether a parameter had to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    Already,
    Now,
}

/// The host passes packets on between its links.
pub fn forward_ipv4() -> Result<Set, SysctlError> {
    set("ipv4/ip_forward", "1")
}

/// Packets from 127.0.0.0/8 may leave through a link, and answers to them come in again.
pub fn route_loopback_through(link: &str) -> Result<Set, SysctlError> {
    set(&format!("ipv4/conf/{link}/route_localnet"), "1")
}

/// A link has no IPv6: else the host would take router advertisements from pods.
pub fn disable_ipv6(link: &str) -> Result<Set, SysctlError> {
    match set(&format!("ipv6/conf/{link}/disable_ipv6"), "1") {
        Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(Set::Already),
        result => result,
    }
}

/// Writes only what is not so already: a read-only `/proc/sys` set up as needed is fine.
fn set(name: &str, value: &'static str) -> Result<Set, SysctlError> {
    let path = PathBuf::from("/proc/sys/net").join(name);
    let failed = |source| SysctlError { path: path.clone(), value, source };
    if fs::read_to_string(&path).map_err(failed)?.trim_end() == value {
        return Ok(Set::Already);
    }
    #[cfg(test)]
    crate::crash_point::pass();
    fs::write(&path, value).map_err(failed)?;
    Ok(Set::Now)
}
