//! Signals by name: the numbers of the CRI's enum are positions in its own list.

use cradle_cri_api::v1;
use cradle_domain::Signal;

use crate::from_proto;

/// The CRI's value for a signal; `RUNTIME_DEFAULT` for those that it does not list (32 and 33, which are glibc's own).
/// Of two names for one signal the first counts: `SIGABRT`, `SIGCHLD`, `SIGIO`.
pub fn signal(signal: Signal) -> v1::Signal {
    (v1::Signal::Sigabrt as i32..=v1::Signal::Sigrtmax as i32)
        .filter_map(|number| v1::Signal::try_from(number).ok())
        .find(|candidate| from_proto::signal(*candidate) == Some(signal))
        .unwrap_or(v1::Signal::RuntimeDefault)
}
