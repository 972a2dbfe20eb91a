//! What exec, attach and port-forward are asked for.

use cradle_streaming::Wanted;

use super::{Field, InvalidField};

/// The streams that a client wants. A terminal has no stderr of its own.
pub fn wanted(stdin: bool, stdout: bool, stderr: bool, terminal: bool) -> Result<Wanted, InvalidField> {
    if terminal && stderr {
        return Err(Field::root("stderr").invalid(stderr, "there is none with tty: a terminal has one output"));
    }
    if !(stdin || stdout || stderr) {
        return Err(Field::root("stdout").invalid(stdout, "one of stdin, stdout and stderr must be wanted"));
    }
    Ok(Wanted { stdin, stdout, stderr, terminal })
}

/// TCP ports.
pub fn ports(ports: Vec<i32>) -> Result<Vec<u16>, InvalidField> {
    Field::root("port").each(ports, |field, port| {
        let number = u16::try_from(port).ok().filter(|number| *number > 0);
        number.ok_or_else(|| field.invalid(port, "it must be between 1 and 65535"))
    })
}
