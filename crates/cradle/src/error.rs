//! Why a command failed, as its user reads it, and what the shell is told.

use std::error::Error as _;
use std::io;

use tonic::{Code, Status};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to {socket}: {why}\n{hint}")]
    Connect { socket: String, why: String, hint: &'static str },
    #[error("the connection to the daemon broke: {why}\nis it still running? containers are not touched by its end")]
    Lost { why: String },
    /// What the daemon answered.
    #[error("{message}")]
    Daemon { code: Code, message: String },
    /// The container is made, but its program cannot be run.
    #[error("{message}")]
    Program { message: String },
    #[error("{0}")]
    Local(String),
    #[error("cannot print: {0}")]
    Output(#[source] io::Error),
    #[error("interrupted")]
    Interrupted { signal: u8 },
}

impl Error {
    pub fn local(message: impl Into<String>) -> Self {
        Error::Local(message.into())
    }

    /// Whether the daemon does not know what it was asked for.
    pub fn is_unimplemented(&self) -> bool {
        matches!(self, Error::Daemon { code: Code::Unimplemented, .. })
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Daemon { code: Code::NotFound, .. })
    }

    /// What a failed attempt to run a program is. Its command is all that can be wrong with it: what else the request
    /// says was good enough for the container that it runs in.
    pub fn of_program(self) -> Self {
        match self {
            Error::Daemon { code: Code::InvalidArgument, message } => Error::Program { message },
            other => other,
        }
    }

    /// The status that says what happened, where there is one by convention; `otherwise` elsewhere.
    pub fn exit_code(&self, otherwise: u8) -> u8 {
        match self {
            Error::Program { .. } => 127,
            Error::Interrupted { signal } => 128 + signal,
            // As for a program that is killed for writing to nobody.
            Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 128 + 13,
            _ => otherwise,
        }
    }

    /// Whether there is anything to tell. `cradle ps | head -1` has seen what it wanted.
    pub fn is_silent(&self) -> bool {
        matches!(self, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        match status.source() {
            // Only what happened on this side of the socket has a source.
            Some(source) => Error::Lost { why: innermost(source) },
            None => Error::Daemon { code: status.code(), message: status.message().to_owned() },
        }
    }
}

/// The cause of all.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_command_has_the_shells_status_for_it() {
        let refused = |status: Status| Error::from(status).of_program().exit_code(125);
        assert_eq!(refused(Status::invalid_argument("no such program")), 127);
        assert_eq!(refused(Status::unavailable("the daemon is stopping")), 125);
        assert_eq!(Error::from(Status::invalid_argument("bad name")).exit_code(1), 1);
    }

    #[test]
    fn a_reader_that_has_left_is_no_news() {
        let error = Error::Output(io::ErrorKind::BrokenPipe.into());
        assert!(error.is_silent());
        assert_eq!(error.exit_code(1), 141);
    }
}
