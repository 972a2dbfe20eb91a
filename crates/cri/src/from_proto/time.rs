//! Times in seconds, as the CRI counts timeouts.

use std::time::Duration;

use super::{Field, InvalidField};

/// How long a container may take to stop; zero: it is killed at once.
pub fn grace_period(seconds: i64) -> Result<Duration, InvalidField> {
    seconds_of(Field::root("timeout"), seconds)
}

/// How long a command may run; none: for ever.
pub fn execution_limit(seconds: i64) -> Result<Option<Duration>, InvalidField> {
    let limit = seconds_of(Field::root("timeout"), seconds)?;
    Ok((!limit.is_zero()).then_some(limit))
}

fn seconds_of(field: Field<'_>, seconds: i64) -> Result<Duration, InvalidField> {
    u64::try_from(seconds).map(Duration::from_secs).map_err(|_| field.invalid(seconds, "it must not be negative"))
}
