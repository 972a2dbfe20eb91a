//! Seccomp filters: from an OCI profile to a program for the kernel.
use oci_spec::runtime::{Capability, LinuxSeccomp};

/// The machine that a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Architecture {
    X86_64,
    Aarch64,
}

impl Architecture {
    /// The machine that this program was built for.
    pub fn native() -> Architecture {
        if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 }
    }
}

/// A filter, ready to be installed with `cradle_sys::bpf::install_seccomp_filter`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Program {
    /// Classic BPF, one `struct sock_filter` in each number, in the memory layout of the kernel.
    pub filter: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("skeleton")]
pub struct SeccompError;

impl cradle_domain::Classified for SeccompError {
    fn class(&self) -> cradle_domain::Class {
        cradle_domain::Class::Invalid
    }
}

pub fn compile(_profile: &LinuxSeccomp, _architecture: Architecture) -> Result<Program, SeccompError> {
    unimplemented!()
}

/// The profile "RuntimeDefault" for a container with these capabilities.
pub fn runtime_default(_capabilities: &[Capability], _architecture: Architecture) -> LinuxSeccomp {
    unimplemented!()
}

/// Reads a "Localhost" profile, in the OCI's form or in docker's.
pub fn parse_profile(_json: &[u8], _capabilities: &[Capability], _architecture: Architecture) -> Result<LinuxSeccomp, SeccompError> {
    unimplemented!()
}
