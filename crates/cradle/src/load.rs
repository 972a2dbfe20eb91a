//! `cradle load`: an archive of images, sent to the daemon as it is read.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use cradle_cri_api::cradle_v1::{LoadRequest, LoadResponse};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::arguments::Load;
use crate::client::Client;
use crate::error::Error;
use crate::interrupts::Interrupts;
use crate::output;

/// Read at a time, and pieces that wait for the daemon.
const PIECE_BYTES: usize = 256 * 1024;
const PIECES: usize = 2;

pub async fn load(client: &mut Client, load: &Load) -> Result<ExitCode, Error> {
    let mut interrupts = Interrupts::listen()?;
    let archive = open(load.input.as_deref())?;
    let loaded = interrupts.unless(send(client, archive)).await?;
    for image in loaded.images {
        let names = if image.names.is_empty() { vec![image.id] } else { image.names };
        let said = if load.quiet { "" } else { "Loaded image: " };
        names.iter().try_for_each(|name| output::line(format_args!("{said}{name}")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn open(path: Option<&Path>) -> Result<Box<dyn Read + Send>, Error> {
    match path {
        Some(path) => match File::open(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(Error::Local(format!("cannot read {}: {error}", path.display()))),
        },
        None if io::stdin().is_terminal() => {
            Err(Error::local("there is nothing on stdin: name an archive with --input, or lead one here by a pipe"))
        }
        None => Ok(Box::new(io::stdin())),
    }
}

async fn send(client: &mut Client, archive: Box<dyn Read + Send>) -> Result<LoadResponse, Error> {
    let (pieces, stream) = mpsc::channel(PIECES);
    let (tell, failed) = oneshot::channel();
    // A thread of its own: a read may wait for as long as it likes, and this program must be able to end before.
    thread::spawn(move || {
        if let Err(error) = read(archive, &pieces) {
            // With `pieces`, whose end would be the archive's: the request must be given up before.
            let _ = tell.send((error, pieces));
        }
    });
    let answer = client.cradle.load(ReceiverStream::new(stream));
    tokio::select! {
        answer = answer => answer.map(tonic::Response::into_inner).map_err(of_load),
        Ok((error, _pieces)) = failed => Err(Error::Local(format!("cannot read the archive: {error}"))),
    }
}

/// Sends all there is; ends early when the daemon wants no more.
fn read(mut archive: Box<dyn Read + Send>, pieces: &mpsc::Sender<LoadRequest>) -> io::Result<()> {
    loop {
        let mut data = vec![0; PIECE_BYTES];
        let count = match archive.read(&mut data) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        data.truncate(count);
        if count == 0 || pieces.blocking_send(LoadRequest { data }).is_err() {
            return Ok(());
        }
    }
}

fn of_load(status: tonic::Status) -> Error {
    let error = Error::from(status);
    if error.is_unimplemented() { Error::local("the daemon at this socket takes no archives") } else { error }
}
