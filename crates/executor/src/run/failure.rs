//! Why a step failed, on its way from the child to the caller.

use std::io;

use rustix::io::Errno;

/// What failed in a step: on what, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepError {
    /// On what, as far as the step's own text does not say it; may be empty.
    pub detail: String,
    /// 0: the detail says it all.
    pub errno: i32,
}

impl StepError {
    /// A failure that is no system call's.
    pub(super) fn saying(detail: impl Into<String>) -> Self {
        StepError { detail: detail.into(), errno: 0 }
    }

    /// The same failure, on `what`.
    pub(super) fn on(self, what: &str) -> Self {
        let colon = if self.detail.is_empty() { "" } else { ": " };
        StepError { detail: format!("{what}{colon}{}", self.detail), ..self }
    }

    pub(super) fn is(&self, errno: Errno) -> bool {
        self.errno == errno.raw_os_error()
    }
}

/// Adds to an error what it happened on.
pub(super) trait Explain<T> {
    fn explain(self, detail: impl FnOnce() -> String) -> Result<T, StepError>;
}

impl<T> Explain<T> for Result<T, Errno> {
    fn explain(self, detail: impl FnOnce() -> String) -> Result<T, StepError> {
        self.map_err(|errno| StepError { detail: detail(), errno: errno.raw_os_error() })
    }
}

impl<T> Explain<T> for io::Result<T> {
    fn explain(self, detail: impl FnOnce() -> String) -> Result<T, StepError> {
        self.map_err(|error| match (StepError::from(error), detail()) {
            (StepError { detail: why, errno: 0 }, on) if !on.is_empty() => StepError::saying(format!("{on}: {why}")),
            (error, on) if error.errno != 0 => StepError { detail: on, ..error },
            (error, _) => error,
        })
    }
}

impl From<Errno> for StepError {
    fn from(errno: Errno) -> Self {
        StepError { detail: String::new(), errno: errno.raw_os_error() }
    }
}

impl From<io::Error> for StepError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => StepError { detail: String::new(), errno },
            None => StepError::saying(error.to_string()),
        }
    }
}
