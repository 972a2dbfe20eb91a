//! Seccomp filters: which system calls a container may make.
//!
//! [`runtime_default`] and [`parse_profile`] give a profile in the OCI's terms, [`compile`] turns it into a [`Program`]
//! for the kernel. All of it is pure and can be done once for many containers.
//!
//! # What a profile means
//!
//! The rules for a system call, in this order: those with conditions on its arguments, as they are listed, of which the
//! first that holds decides; then the first one without conditions; then the default action. But a rule without
//! conditions makes those with conditions pointless, whatever their order, and a rule with the default action is no
//! rule: this is what libseccomp makes of such profiles, and users have tried theirs with it.
//!
//! A call that is newer than all that a profile names gets ENOSYS where the default action would refuse it: programs
//! then fall back to an older call, where EPERM would stop them.

mod assemble;
mod compile;
mod profile;
mod rules;
mod runtime_default;
mod syscalls;

#[cfg(test)]
mod tests;

pub use compile::{Program, SeccompError, compile};
pub use profile::{ProfileContext, ProfileError, parse_profile};
pub use runtime_default::runtime_default;

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
