//! The lives of pods and containers as pure, total functions: what may be asked in which state, and what an event
//! makes of it.

pub mod container;
pub mod pod;

/// The answer of a lifecycle to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Do it.
    Accept,
    /// It has happened already: answer with success.
    Already,
    /// It cannot be done in this state, for the reason given.
    Refused(&'static str),
}
