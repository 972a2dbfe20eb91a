//! Fuzz target: what a client of WebSocket may send after the upgrade.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};

use super::channels::{self, Framing};
use super::tunnel::Tunnel;
use crate::activity::Activity;
use crate::buffers::Buffers;
use crate::carrier::Event;
use crate::limits::WEBSOCKET_MESSAGE_MAX_BYTES;
use crate::socket::{Connection, Socket};

/// Whatever a client sends, it is dealt with by then.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

/// A client's connection; the first byte says which protocol is spoken, and whether the rest are bytes of WebSocket or
/// messages that are framed here: a byte for the head, one for the length, the payload.
pub fn websocket(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else { return };
    let bytes = if kind & 4 == 0 { data.to_vec() } else { framed(data) };
    let spoken = async {
        let most = bytes.len();
        let (connection, client) = connection(bytes);
        let serving = async {
            match kind & 3 {
                0 => speak(connection, most, Framing::Binary { close_signal: true }).await,
                1 => speak(connection, most, Framing::Binary { close_signal: false }).await,
                2 => speak(connection, most, Framing::Base64).await,
                _ => dig(connection, most).await,
            }
        };
        beside(client, serving).await;
    };
    RUNTIME.with(|runtime| runtime.block_on(async { tokio::time::timeout(ENDS_WITHIN, spoken).await.unwrap() }));
}

/// Messages with a mask of zeros.
fn framed(mut script: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * script.len());
    while let Some(([head, length], rest)) = script.split_first_chunk() {
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        script = rest;
        bytes.push(head & 0x8f);
        match u8::try_from(payload.len()) {
            Ok(length @ 0..126) => bytes.push(0x80 | length),
            _ => bytes.extend_from_slice(&[0x80 | 126, 0, payload.len().to_le_bytes()[0]]),
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// A connection on which `bytes` have come, and then nothing more; and the client's end.
fn connection(bytes: Vec<u8>) -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    theirs.set_nonblocking(true).unwrap();
    ours.set_nonblocking(true).unwrap();
    // A pair of connected TCP sockets takes many times as long to make.
    let ours = tokio::net::TcpStream::from_std(TcpStream::from(OwnedFd::from(ours))).unwrap();
    (Connection::new(Socket::Plain(ours), Bytes::from(bytes)), theirs)
}

/// Serves a client that takes everything; a socket's buffer holds no more than some hundred short messages.
async fn beside(client: UnixStream, serving: impl Future<Output = ()>) {
    let mut client = tokio::net::UnixStream::from_std(client).unwrap();
    let taking = async {
        // An error or an end.
        let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serving => {}
        () = taking => {}
    }
}

/// Takes what comes on channels, and sends it back.
async fn speak(connection: Connection, most: usize, framing: Framing) {
    let (mut reader, writer) = channels::open(connection, framing, &Arc::new(Activity::begin()));
    let buffers = Arc::new(Buffers::default());
    let mut taken = 0;
    while let Ok(event) = reader.next().await {
        match event {
            Event::Data { stream } => {
                let data = reader.data();
                taken += data.len();
                assert!(data.len() <= WEBSOCKET_MESSAGE_MAX_BYTES && stream <= u32::from(u8::MAX));
                if framing == Framing::Base64 {
                    assert_eq!(STANDARD.decode(STANDARD.encode(data)).as_deref(), Ok(data));
                }
                let mut buffer = buffers.take();
                buffer.put(data);
                if writer.data(stream, buffer).await.is_err() {
                    return;
                }
            }
            Event::Ended { stream } => {
                assert_eq!(framing, Framing::Binary { close_signal: true });
                if writer.end(stream).await.is_err() {
                    return;
                }
            }
            Event::Opened { .. } | Event::Reset { .. } => panic!("channels know nothing of that"),
        }
    }
    assert!(taken <= most, "no message is larger than its bytes");
    // The client may have left.
    let _ = writer.close().await;
}

/// Takes what comes through a tunnel.
async fn dig(connection: Connection, most: usize) {
    let mut tunnel = Tunnel::new(connection, Arc::new(Buffers::default()));
    let mut plain = Vec::new();
    // An error or an end.
    let _ = tunnel.read_to_end(&mut plain).await;
    assert!(plain.len() <= most);
}

#[cfg(test)]
mod tests {
    use cradle_testkit::fuzz::Replay;

    fn message(head: u8, payload: &[u8]) -> Vec<u8> {
        [&[head, u8::try_from(payload.len()).unwrap()], payload].concat()
    }

    #[test]
    fn clients_of_websocket_do_no_harm() {
        let binary = [message(0x82, b"\0hello"), message(0x89, b"ping"), message(0x82, &[255, 0])].concat();
        let pieces = [message(0x02, b"\0he"), message(0x8a, b""), message(0x00, b"l"), message(0x80, b"lo")].concat();
        let base64 =
            [message(0x81, b"0aGVsbG8="), message(0x81, b"4eyJXaWR0aCI6ODB9"), message(0x88, &[3, 0xe8])].concat();
        let long = [message(0x82, &[7; 200]), message(0x88, b"")].concat();
        let mut samples = Vec::new();
        for (kind, script) in
            [(0, &binary), (1, &binary), (2, &base64), (3, &binary), (0, &pieces), (3, &pieces), (1, &long)]
        {
            samples.push([&[kind | 4], &script[..]].concat());
            samples.push([&[kind], &super::framed(script)[..]].concat());
        }
        Replay::new("websocket").mutants(2000).run(samples, super::websocket);
    }
}
