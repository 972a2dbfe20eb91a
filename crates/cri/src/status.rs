//! The one place where failures become gRPC statuses.

use cradle_domain::{Class, Failure};
use tonic::{Code, Status};

use crate::limits::STATUS_MESSAGE_MAX_BYTES;

/// The status that answers a failed request.
pub fn from_failure(failure: &Failure) -> Status {
    Status::new(code(failure.class()), bounded(failure.to_string()))
}

/// The answer of an RPC that is not built yet.
pub fn unimplemented(rpc: &str) -> Status {
    Status::unimplemented(format!("{rpc} is not implemented by this version of cradle"))
}

/// The gRPC code of a class.
fn code(class: Class) -> Code {
    match class {
        Class::NotFound => Code::NotFound,
        Class::Invalid => Code::InvalidArgument,
        Class::Refused => Code::FailedPrecondition,
        Class::Conflict => Code::AlreadyExists,
        Class::Denied => Code::PermissionDenied,
        Class::Busy => Code::Aborted,
        Class::Unavailable => Code::Unavailable,
        Class::Exhausted => Code::ResourceExhausted,
        Class::Deadline => Code::DeadlineExceeded,
        Class::Corrupt => Code::DataLoss,
        Class::Unimplemented => Code::Unimplemented,
        Class::Bug => Code::Internal,
    }
}

/// The message within its limit: the beginning says what failed, the end why.
fn bounded(message: String) -> String {
    if message.len() <= STATUS_MESSAGE_MAX_BYTES {
        return message;
    }
    const GAP: &str = " […] ";
    let half = (STATUS_MESSAGE_MAX_BYTES - GAP.len()) / 2;
    let head = message.floor_char_boundary(half);
    let tail = message.ceil_char_boundary(message.len() - half);
    format!("{}{GAP}{}", &message[..head], &message[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_code() {
        for (class, expected) in [
            (Class::NotFound, Code::NotFound),
            (Class::Invalid, Code::InvalidArgument),
            (Class::Refused, Code::FailedPrecondition),
            (Class::Conflict, Code::AlreadyExists),
            (Class::Denied, Code::PermissionDenied),
            (Class::Busy, Code::Aborted),
            (Class::Unavailable, Code::Unavailable),
            (Class::Exhausted, Code::ResourceExhausted),
            (Class::Deadline, Code::DeadlineExceeded),
            (Class::Corrupt, Code::DataLoss),
            (Class::Unimplemented, Code::Unimplemented),
            (Class::Bug, Code::Internal),
        ] {
            assert_eq!(from_failure(&Failure::new(class, "x")).code(), expected, "{class:?}");
        }
    }

    #[test]
    fn the_message_is_the_whole_chain_with_the_hint() {
        let failure =
            Failure::new(Class::Unavailable, "connection refused").context("pulling nginx").with_hint("Is it up?");
        assert_eq!(from_failure(&failure).message(), "pulling nginx: connection refused (Is it up?)");
    }

    #[test]
    fn a_message_that_no_header_would_hold_keeps_its_beginning_and_its_end() {
        let failure = Failure::new(Class::Bug, format!("begin {} end", "é".repeat(STATUS_MESSAGE_MAX_BYTES)));
        let status = from_failure(&failure);
        assert!(status.message().len() <= STATUS_MESSAGE_MAX_BYTES);
        assert!(status.message().starts_with("begin é") && status.message().ends_with("é end"));
    }
}
