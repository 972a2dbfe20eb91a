//! Port-forward: connections into a pod, each with a stream for its bytes and one for what went wrong with it.
//!
//! A connection that is refused, reset or slow ends with its two streams; the session and the others go on.

mod channels;
mod connection;
mod pairs;

use crate::carrier::{Gone, Reader};
use crate::limits::{FAREWELL, LINGER};
use crate::session::{Cut, Session};

/// Ends when the client is gone.
pub(crate) async fn run(session: Session, pod: &str, ports: &[u16]) -> Result<(), Gone> {
    let Session { shared, mut reader, writer, mut cutter, .. } = session;
    let serve = async {
        match &mut reader {
            Reader::Spdy(reader) => pairs::serve(&shared, reader, &writer, pod).await,
            Reader::Channels(reader) => channels::serve(&shared, reader, &writer, pod, ports).await,
        }
    };
    tokio::select! {
        ended = serve => ended?,
        cut = cutter.cut() => match cut {
            Cut::Idle | Cut::Stopping => {}
            Cut::HungUp => return Err(Gone::Left),
        },
    }
    tokio::time::timeout(FAREWELL, writer.close()).await.unwrap_or(Err(Gone::Left))?;
    // A client that does not close the connection keeps it no longer.
    let _ = tokio::time::timeout(LINGER, reader.drain()).await;
    Ok(())
}
