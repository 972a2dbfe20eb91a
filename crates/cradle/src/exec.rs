//! `cradle exec`: a command in a running container, with this program's streams, and its exit code as this program's.

use std::io::{self, Write};
use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::arguments::Exec;
use crate::client::Client;
use crate::error::Error;
use crate::output;
use crate::streams::{self, Connected, Ended};

pub async fn exec(client: &mut Client, exec: &Exec) -> Result<ExitCode, Error> {
    let Some((name, command)) = exec.words.split_first() else { return Err(Error::local("a container is missing")) };
    let container_id = client.container(name).await?.id;
    let cmd = command.to_vec();
    if exec.timeout > 0 {
        return bounded(client, v1::ExecSyncRequest { container_id, cmd, timeout: exec.timeout.into() }).await;
    }
    let (stdin, tty) = (exec.terminal.interactive, exec.terminal.tty);
    if stdin && tty && !streams::is_terminal() {
        return Err(Error::local("-t: what comes in is no terminal; leave it out"));
    }
    let request = v1::ExecRequest { container_id, cmd, tty, stdin, stdout: true, stderr: !tty };
    let url = client.runtime.exec(request).await?.into_inner().url;
    let connected = Connected { stdin, terminal: tty, detach_keys: exec.detach_keys.clone() };
    match streams::connect(&url, &connected).await? {
        Ended::With(code) => Ok(exit_code(code)),
        Ended::Left => {
            output::note(format_args!("\r\nit goes on in {name}; its output is dropped"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A command that is killed when its time is over; its output comes when it has ended.
async fn bounded(client: &mut Client, request: v1::ExecSyncRequest) -> Result<ExitCode, Error> {
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
