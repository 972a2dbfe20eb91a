//! `cradle exec`: a command without a terminal; its output comes when it has ended.

use std::io::{self, Write};
use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::arguments::{Exec, Terminal};
use crate::client::Client;
use crate::error::Error;

pub async fn exec(client: &mut Client, exec: &Exec) -> Result<ExitCode, Error> {
    no_terminal(&exec.terminal)?;
    let Some((name, command)) = exec.words.split_first() else { return Err(Error::local("a container is missing")) };
    let container_id = client.container(name).await?.id;
    let request = v1::ExecSyncRequest { container_id, cmd: command.to_vec(), timeout: exec.timeout.into() };
    let answer = client.runtime.exec_sync(request).await.map_err(|status| Error::from(status).of_program())?;
    let output = answer.into_inner();
    write(&mut io::stdout().lock(), &output.stdout).map_err(Error::Output)?;
    write(&mut io::stderr().lock(), &output.stderr).map_err(Error::Output)?;
    Ok(exit_code(output.exit_code))
}

fn write(to: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// A program's status, as this program's.
pub fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// # Errors
/// A terminal or input is asked for.
pub fn no_terminal(terminal: &Terminal) -> Result<(), Error> {
    let flag = match (terminal.interactive, terminal.tty) {
        (false, false) => return Ok(()),
        (true, true) => "-it",
        (true, false) => "-i",
        (false, true) => "-t",
    };
    let text = format!(
        "{flag}: input and terminals are not built yet; without {flag} the command runs, and its output is shown"
    );
    Err(Error::Local(text))
}
