//! Why a request was not done, as it is told to the daemon.

use cradle_domain::failure::Chain;
use cradle_domain::{Class, Classified};
use rustix::io::Errno;

use crate::protocol::Refusal;

impl Refusal {
    /// A refusal without a hint.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Refusal { class, message: message.into(), hint: None }
    }

    /// The same refusal with what its reader can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What failed, with the whole chain of its causes.
    pub fn from_error(error: &impl Classified) -> Self {
        Refusal { class: error.class(), message: Chain(error).to_string(), hint: error.hint() }
    }

    /// A system call of the shim's own has failed.
    pub fn from_errno(doing: &str, errno: Errno) -> Self {
        let class = class_of(errno);
        let refusal = Refusal::new(class, format!("{doing}: {}", std::io::Error::from(errno)));
        match class {
            Class::Exhausted => refusal.with_hint("The machine is out of descriptors, memory, processes or space."),
            _ => refusal,
        }
    }
}

/// The class of an error of the kernel's.
pub fn class_of(errno: Errno) -> Class {
    match errno {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::NOSPC | Errno::DQUOT | Errno::NOBUFS => {
            Class::Exhausted
        }
        Errno::NOENT | Errno::NOTDIR => Class::NotFound,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Class::Denied,
        Errno::BUSY => Class::Busy,
        _ => Class::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_something_is_told_as_such_and_with_a_hint() {
        let refusal = Refusal::from_errno("making a pipe", Errno::MFILE);
        assert_eq!(refusal.class, Class::Exhausted);
        assert!(refusal.message.starts_with("making a pipe: Too many open files"), "{}", refusal.message);
        assert!(refusal.hint.is_some());
        assert!(Refusal::from_errno("x", Errno::IO).hint.is_none());
    }
}
