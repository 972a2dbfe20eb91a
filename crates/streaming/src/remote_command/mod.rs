//! Exec and attach: the streams of a process, the size of its terminal, and how it ended.
//!
//! ```text
//!  the client opens its streams ──▶ the process starts, or is attached to ──▶ bytes go both ways
//!                                          │ failed                                │ it has ended, its output is out
//!                                          ▼                                       ▼
//!                                   the status is sent, the streams end, the client closes the connection
//! ```
//!
//! A client that leaves before that is no loss to the container: a command is hung up, what was attached to goes on. Who
//! detaches leaves a command running, too (`detached`).

mod detached;
mod process;
mod resize;
mod status;
mod streams;

use cradle_domain::{Class, Failure};
use tokio::sync::watch;

use crate::carrier::{Event, Gone, Outlet, Reader, Writer};
use crate::descriptor::{Descriptor, Now};
use crate::flag::raised;
use crate::limits::{ATTACH_END, FAREWELL, LINGER, OUTPUT_DRAIN, OUTPUT_DRAIN_READS};
use crate::request::Wanted;
use crate::server::Shared;
use crate::session::{Cut, Session};

use process::{End, Input, Output, Process};
use status::Status;
use streams::{Early, Streams};

/// What the client wants of the container.
#[derive(Debug)]
pub(crate) enum Command {
    Exec(Vec<String>),
    /// The container's first process.
    Attach,
}

/// Ends when the client has got everything, or is gone.
pub(crate) async fn run(session: Session, command: Command, container: &str, wanted: Wanted) -> Result<(), Gone> {
    let Session { shared, mut reader, writer, protocol, mut cutter } = session;
    let within = shared.config.stream_creation_timeout;
    let opening = tokio::time::timeout(within, Streams::open(&mut reader, &writer, protocol, wanted));
    let (streams, early) = tokio::select! {
        opened = opening => opened.unwrap_or(Err(Gone::NoStreams(within.as_secs())))?,
        _ = cutter.cut() => return Ok(()),
    };
    let work = work(&shared, &mut reader, &streams, early, &command, container, wanted);
    let (status, take_within) = tokio::select! {
        over = work => match over? {
            Over::Ended(status) => (status, shared.config.idle_timeout),
            Over::Detached(process) => {
                let _place = detached::let_go(&shared, &writer, &process).await?;
                drop((reader, writer, streams));
                tokio::select! {
                    () = detached::run_on(&shared, process) => {}
                    () = cutter.stopping() => {}
                }
                return Ok(());
            }
        },
        cut = cutter.cut() => {
            let Some(why) = explain(cut) else { return Err(Gone::Left) };
            (Status::Failed(Failure::new(Class::Unavailable, why)), FAREWELL)
        }
    };
    let text = status.text(protocol.status);
    let farewell = farewell(&shared, &writer, &streams, &text);
    tokio::time::timeout(take_within, farewell).await.unwrap_or(Err(Gone::Left))?;
    // A client that does not close the connection keeps it no longer.
    let _ = tokio::time::timeout(LINGER.min(take_within), reader.drain()).await;
    Ok(())
}

/// What the client is told; none: it is not there any more.
fn explain(cut: Cut) -> Option<&'static str> {
    match cut {
        Cut::Idle => Some("nothing has moved in this session for too long"),
        Cut::Stopping => {
            Some("the daemon of the container runtime stops; the container goes on and can be attached to again")
        }
        Cut::HungUp => None,
    }
}

/// How the client's part is over.
enum Over {
    Ended(Status),
    Detached(Process),
}

/// From the start of the process to its end. An error says that the client was gone before.
async fn work(
    shared: &Shared,
    reader: &mut Reader,
    streams: &Streams,
    early: Vec<Early>,
    command: &Command,
    container: &str,
    wanted: Wanted,
) -> Result<Over, Gone> {
    let mut process = match Process::begin(shared, command, container, wanted).await {
        Ok(process) => process,
        Err(failure) => return Ok(Over::Ended(Status::Failed(failure))),
    };
    let Process { input, output, end } = &mut process;
    let gone = tokio::select! {
        status = until_ended(shared, streams, output, end) => return status.map(Over::Ended),
        gone = take_input(reader, streams, early, input) => gone,
    };
    if matches!(gone, Gone::Detached) { Ok(Over::Detached(process)) } else { Err(gone) }
}

/// Gives the process what the client sends, until the client is gone.
async fn take_input(reader: &mut Reader, streams: &Streams, early: Vec<Early>, input: &mut Input) -> Gone {
    for Early { stream, bytes } in early {
        input.take(streams, stream, bytes.as_deref()).await;
    }
    loop {
        match reader.next().await {
            Ok(Event::Data { stream }) => input.take(streams, stream, Some(reader.data())).await,
            Ok(Event::Ended { stream } | Event::Reset { stream }) => input.take(streams, stream, None).await,
            // There are none: more streams are refused by what carries them.
            Ok(Event::Opened { .. }) => {}
            Err(gone) => return gone,
        }
    }
}

/// Gives the client what the process writes, until it has ended and all of that is sent.
async fn until_ended(shared: &Shared, streams: &Streams, output: &Output, end: &mut End) -> Result<Status, Gone> {
    let (drain, drained) = watch::channel(false);
    let copied = async {
        tokio::try_join!(
            copy_output(shared, output.stdout.as_deref(), streams.stdout.as_ref(), drained.clone()),
            copy_output(shared, output.stderr.as_deref(), streams.stderr.as_ref(), drained.clone()),
        )
    };
    let mut copied = std::pin::pin!(copied);
    // Processes that it has left may hold its output open for ever.
    let drain_later = async {
        tokio::time::sleep(OUTPUT_DRAIN).await;
        drain.send_replace(true);
        std::future::pending::<()>().await;
    };
    match end {
        End::Exec(exec) => {
            let ended = tokio::select! {
                copied = &mut copied => {
                    copied?;
                    return Ok(Status::of_command(exec.ended().await));
                }
                ended = exec.ended() => ended,
            };
            tokio::select! {
                copied = &mut copied => copied?,
                () = drain_later => Default::default(),
            };
            Ok(Status::of_command(ended))
        }
        End::Attachment(attachment) => {
            // A container with a terminal may give an output that the client has no stream for.
            let copies = (output.stdout.is_some() && streams.stdout.is_some())
                || (output.stderr.is_some() && streams.stderr.is_some());
            tokio::select! {
                copied = &mut copied, if copies => {
                    copied?;
                    let ended = tokio::time::timeout(ATTACH_END, attachment.ended()).await;
                    return Ok(ended.map_or_else(|_| Status::Failed(Failure::new(Class::Exhausted, OUTPUT_LOST)), |()| Status::Success));
                }
                () = attachment.ended() => {}
            }
            tokio::select! {
                copied = &mut copied => copied?,
                () = drain_later => Default::default(),
            };
            Ok(Status::Success)
        }
    }
}

const OUTPUT_LOST: &str = "the output has ended although the container runs: it was not read in time, or the container has \
    closed it; attach again, or read the container's log";

/// Copies until the end, or until only what is there is wanted any more.
async fn copy_output(
    shared: &Shared,
    source: Option<&Descriptor>,
    outlet: Option<&Outlet>,
    mut drained: watch::Receiver<bool>,
) -> Result<(), Gone> {
    let (Some(source), Some(outlet)) = (source, outlet) else { return Ok(()) };
    loop {
        tokio::select! {
            read = source.read(&shared.buffers) => match read {
                Ok(Some(buffer)) => outlet.send(buffer).await?,
                Ok(None) | Err(_) => return Ok(()),
            },
            () = raised(&mut drained) => break,
        }
    }
    for _ in 0..OUTPUT_DRAIN_READS {
        match source.read_now(&shared.buffers) {
            Ok(Now::Bytes(buffer)) => outlet.send(buffer).await?,
            Ok(Now::Nothing | Now::End) | Err(_) => break,
        }
    }
    Ok(())
}

/// Tells the client how it ended, and that nothing more will come.
async fn farewell(shared: &Shared, writer: &Writer, streams: &Streams, text: &[u8]) -> Result<(), Gone> {
    if !text.is_empty() {
        streams.error.send_text(text, &shared.buffers).await?;
    }
    for outlet in &streams.ends {
        outlet.end().await?;
    }
    // It has everything now, and may have closed the connection.
    let _ = writer.close().await;
    Ok(())
}
