//! `cradle port-forward`: ports of this machine that lead into a pod, until Ctrl-C.

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use cradle_cri_api::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::arguments::{Forwarded, PortForward};
use crate::client::Client;
use crate::error::Error;
use crate::interrupts::Interrupts;
use crate::output;
use crate::streams::link::{Link, Said};

/// The numbers of a connection's channels.
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Connections at a time; more wait.
const CONNECTIONS_MAX: usize = 256;
/// Read from a connection at a time.
const READ_BYTES: usize = 32 * 1024;

pub async fn port_forward(client: &mut Client, asked: &PortForward) -> Result<ExitCode, Error> {
    let pod = pod(client, &asked.name).await?;
    let mut interrupts = Interrupts::listen()?;
    let mut listening = JoinSet::new();
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for forwarded in &asked.ports {
        let listener = TcpListener::bind((asked.address, forwarded.local)).await;
        let listener =
            listener.map_err(|error| Error::Local(format!("cannot listen on port {}: {error}", forwarded.local)))?;
        let local = listener.local_addr().map_err(|error| Error::Local(error.to_string()))?;
        output::line(format_args!("{local} leads to port {} of {}", forwarded.remote, asked.name))?;
        let target = Target { client: client.clone(), pod: pod.clone(), port: forwarded.remote };
        listening.spawn(listen(listener, target, free.clone()));
    }
    tokio::select! {
        _ = listening.join_next() => Err(Error::local("connections cannot be taken any more")),
        _ = interrupts.next() => Ok(ExitCode::SUCCESS),
    }
}

/// The pod of the container with this name or id, or the pod with the id that begins so.
async fn pod(client: &mut Client, name: &str) -> Result<String, Error> {
    let none = match client.container(name).await {
        Ok(container) => return Ok(container.pod_sandbox_id),
        Err(error) => error,
    };
    let pods = client.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner().items;
    let mut meant = pods.into_iter().map(|pod| pod.id).filter(|id| !name.is_empty() && id.starts_with(name));
    match (meant.next(), meant.next()) {
        (Some(pod), None) => Ok(pod),
        _ => Err(none),
    }
}

/// Where connections lead.
#[derive(Clone)]
struct Target {
    client: Client,
    pod: String,
    port: u16,
}

async fn listen(listener: TcpListener, target: Target, free: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    while let Ok(permit) = free.clone().acquire_owned().await {
        let Ok((tcp, _)) = listener.accept().await else { return };
        let target = target.clone();
        connections.spawn(async move {
            let port = target.port;
            if let Err(error) = forward(target, tcp).await {
                output::note(format_args!("cradle: a connection to port {port}: {error}"));
            }
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, until both directions have ended.
async fn forward(mut target: Target, tcp: TcpStream) -> Result<(), Error> {
    let request = v1::PortForwardRequest { pod_sandbox_id: target.pod, port: vec![target.port.into()] };
    let url = target.client.runtime.port_forward(request).await?.into_inner().url;
    let link = Link::open(&url).await?;
    let (from, to) = tcp.into_split();
    // The daemon closes the connection when both directions have ended.
    tokio::select! {
        received = receive(&link, to) => received,
        Err(error) = send(&link, from) => Err(error),
    }
}

/// From the pod. What either side of a local connection does is no failure of ours.
async fn receive(link: &Link, to: OwnedWriteHalf) -> Result<(), Error> {
    let mut to = Some(to);
    let mut begun = [false; 2];
    let mut failure = Vec::new();
    while let Some(said) = link.next().await? {
        match said {
            // The first message on each channel says the port.
            Said::Bytes { channel: channel @ (DATA | ERROR), .. } if !begun[usize::from(channel)] => {
                begun[usize::from(channel)] = true;
            }
            Said::Bytes { channel: DATA, bytes } => put(&mut to, &bytes).await,
            Said::Bytes { channel: ERROR, bytes } => failure.extend_from_slice(&bytes),
            // Dropped, the local connection's direction is ended.
            Said::End { channel: DATA } => to = None,
            Said::Bytes { .. } | Said::End { .. } => {}
        }
    }
    if failure.is_empty() { Ok(()) } else { Err(Error::Local(String::from_utf8_lossy(&failure).into_owned())) }
}

async fn put(to: &mut Option<OwnedWriteHalf>, bytes: &Bytes) {
    if let Some(half) = to
        && half.write_all(bytes).await.is_err()
    {
        *to = None;
    }
}

/// To the pod; then nothing, since the other direction may go on.
async fn send(link: &Link, mut from: OwnedReadHalf) -> Result<(), Error> {
    let mut chunk = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        link.send(DATA, &chunk[..count]).await?;
    }
    link.end(DATA).await?;
    std::future::pending().await
}

impl std::str::FromStr for Forwarded {
    type Err = String;

    /// `PORT` or `LOCAL:PORT`; 0 for a local port that is free.
    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = text.split_once(':').unwrap_or((text, text));
        let remote = remote.parse().ok().filter(|port| *port > 0);
        match (local.parse(), remote) {
            (Ok(local), Some(remote)) => Ok(Forwarded { local, remote }),
            _ => Err(format!("{text:?} is no port: expected PORT, or PORT:PORT with this machine's first")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_number_or_two() {
        let parse = |text: &str| text.parse::<Forwarded>();
        assert_eq!(parse("80"), Ok(Forwarded { local: 80, remote: 80 }));
        assert_eq!(parse("0:80"), Ok(Forwarded { local: 0, remote: 80 }));
        for bad in ["", "0", "80:0", "80:", ":80", "x", "80:80:80", "70000"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
