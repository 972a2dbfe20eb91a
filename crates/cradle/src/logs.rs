//! `cradle logs`, and a container's output while it runs.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cradle_cri_api::v1;
use v1::ContainerState;

use crate::arguments::Logs;
use crate::client::Client;
use crate::cri_log::{Log, Printer};
use crate::error::Error;

/// A followed log is looked at after the first pause, and after twice as long each time that nothing came, up to the
/// second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// How long a daemon that has gone may take to come back. The container goes on meanwhile.
const DAEMON_RETURNS: Duration = Duration::from_secs(10);

pub async fn logs(client: &mut Client, logs: &Logs) -> Result<ExitCode, Error> {
    let container = client.container(&logs.container).await?;
    let mut log = open(client, &container.id).await?;
    if let Some(count) = logs.tail {
        log.seek_to_last(count)?;
    }
    let mut printer = Printer::new(logs.timestamps);
    if logs.follow {
        follow(client, &container.id, &mut log, &mut printer).await?;
    } else {
        log.print_rest(&mut printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The log of a container.
pub async fn open(client: &mut Client, container: &str) -> Result<Log, Error> {
    let path = client.status(container).await?.log_path;
    Log::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::Local(format!("container {container} has no log at {path}: was it ever started?"))
        }
        _ => Error::Local(format!("cannot read the log {path}: {error}")),
    })
}

/// Prints what comes, until the container has ended and all is printed; gives its last status.
pub async fn follow(
    client: &mut Client,
    container: &str,
    log: &mut Log,
    printer: &mut Printer,
) -> Result<v1::ContainerStatus, Error> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        // Asked before the log is read: what was printed before the end is in the log then.
        let status = patient_status(client, container).await?;
        let printed = log.print_rest(printer)?;
        if !matches!(status.state(), ContainerState::ContainerRunning | ContainerState::ContainerCreated) {
            return Ok(status);
        }
        pause = if printed { SHORTEST_PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
        tokio::time::sleep(pause).await;
    }
}

/// A container's status, also from a daemon that is being restarted.
async fn patient_status(client: &mut Client, container: &str) -> Result<v1::ContainerStatus, Error> {
    let until = Instant::now() + DAEMON_RETURNS;
    loop {
        match client.status(container).await {
            Err(Error::Lost { .. }) if Instant::now() < until => tokio::time::sleep(LONGEST_PAUSE).await,
            answer => return answer,
        }
    }
}
