//! Signals. The numbers of the CRI's enum are positions in its own list; only the names are those of Linux.

use cradle_cri_api::v1;
use cradle_domain::Signal;

use super::{Field, InvalidField};

/// The stop signal of a container; none: that of the image.
pub fn stop_signal(field: Field<'_>, number: i32) -> Result<Option<Signal>, InvalidField> {
    field.enumeration::<v1::Signal>(number).map(signal)
}

/// The signal with the same name; none for `RUNTIME_DEFAULT`.
pub fn signal(signal: v1::Signal) -> Option<Signal> {
    let name = signal.as_str_name().replace("PLUS", "+").replace("MINUS", "-");
    Signal::parse(&name).ok()
}
