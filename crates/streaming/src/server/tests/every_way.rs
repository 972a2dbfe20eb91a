//! Clients that stall or die, for everything that can be asked for in every way to speak it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::clients::{self, BINARY, CLOSE, TEXT, message, spdy_headers, websocket_headers};
use super::{BOTH, Config, Place, soon, until};
use crate::spdy::testing;

const SHORT: Duration = Duration::from_millis(150);
/// For an answer that may not come.
const MOMENT: Duration = Duration::from_millis(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Spdy,
    Tunnel,
    Channels(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Exec(&'static str),
    Attach,
    PortForward(u16),
}

/// A session: what is wanted, and how it is spoken.
#[derive(Debug, Clone, Copy)]
struct Case {
    wish: Wish,
    way: Way,
}

fn cases(command: &'static str, port: u16) -> Vec<Case> {
    let channels = ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"].map(Way::Channels);
    let commands = [Wish::Exec(command), Wish::Attach];
    let mut cases = Vec::new();
    for wish in commands {
        cases.extend([&[Way::Spdy], &channels[..]].concat().into_iter().map(|way| Case { wish, way }));
    }
    let ways = [&[Way::Spdy, Way::Tunnel], &channels[..]].concat();
    cases.extend(ways.into_iter().map(|way| Case { wish: Wish::PortForward(port), way }));
    cases
}

impl Case {
    async fn connect(self, place: &Place) -> TcpStream {
        let path = match self.wish {
            Wish::Exec(command) => place.exec(&[command], BOTH),
            Wish::Attach => place.attach(),
            Wish::PortForward(port) => place.port_forward(&[port]),
        };
        let headers = match (self.way, self.wish) {
            (Way::Spdy, Wish::PortForward(_)) => spdy_headers("portforward.k8s.io"),
            (Way::Spdy, _) => spdy_headers("v4.channel.k8s.io"),
            (Way::Tunnel, _) => websocket_headers("SPDY/3.1+portforward.k8s.io"),
            (Way::Channels(subprotocol), _) => websocket_headers(subprotocol),
        };
        let (tcp, head, _) = clients::ask(place.address, &path, &headers).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{self:?}: {head}");
        tcp
    }

    /// The headers of the streams that a client must open.
    fn streams(self) -> Vec<Vec<(&'static str, String)>> {
        match (self.way, self.wish) {
            (Way::Channels(_), _) => Vec::new(),
            (_, Wish::PortForward(port)) => {
                let pair = |kind: &str| {
                    [("streamtype", kind.to_owned()), ("port", port.to_string()), ("requestid", "0".to_owned())]
                        .to_vec()
                };
                vec![pair("error"), pair("data")]
            }
            _ => ["error", "stdout", "stdin"].map(|kind| vec![("streamtype", kind.to_owned())]).to_vec(),
        }
    }

    /// What a client sends that behaves, piece by piece: its streams, some input, the end of that.
    fn pieces(self) -> Vec<Vec<u8>> {
        let mut pieces: Vec<_> = opened(&self.streams()).into_iter().map(|frame| self.carried(&frame)).collect();
        let input = pieces.len() * 2;
        pieces.extend(match self.way {
            Way::Spdy | Way::Tunnel => {
                let stream = u32::try_from(input).unwrap() - 1;
                [testing::data(stream, b"input", false), testing::data(stream, b"", true)]
                    .map(|data| self.carried(&data))
            }
            Way::Channels("v5.channel.k8s.io") => [message(BINARY, b"\0input"), message(BINARY, &[255, 0])],
            Way::Channels("v4.channel.k8s.io") => [message(BINARY, b"\0input"), message(CLOSE, &[3, 0xe8])],
            Way::Channels(_) => [message(TEXT, b"0aW5wdXQ="), message(CLOSE, &[3, 0xe8])],
        });
        pieces
    }

    /// A frame of SPDY as it is sent.
    fn carried(self, frame: &[u8]) -> Vec<u8> {
        match self.way {
            Way::Tunnel => frame.chunks(100).flat_map(|piece| message(BINARY, piece)).collect(),
            Way::Spdy | Way::Channels(_) => frame.to_vec(),
        }
    }
}

/// The frames that open streams with these headers.
fn opened(streams: &[Vec<(&'static str, String)>]) -> Vec<Vec<u8>> {
    let mut client = testing::Client::new();
    let open = |(stream, headers): (u32, &Vec<(&'static str, String)>)| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        client.open(stream, &headers)
    };
    (1..).step_by(2).zip(streams).map(open).collect()
}

/// Something in a pod that clients connect to; it writes until it cannot, or gives back what it gets.
struct Pod {
    port: u16,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Pod {
    async fn new(floods: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let count = count.clone();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let (mut read, mut write) = tcp.split();
                    if floods {
                        while write.write_all(&[b'y'; 4096]).await.is_ok() {}
                    } else {
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    }
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Pod { port, connections, serving }
    }

    async fn empty(self) {
        until("no connection into the pod is left", || self.connections.load(Ordering::SeqCst) == 0).await;
        self.serving.abort();
    }
}

#[tokio::test]
async fn a_client_that_dies_after_any_piece_or_amid_it_leaves_nothing() {
    let (place, pod) = (Place::new().await, Pod::new(false).await);
    for case in cases("cat", pod.port) {
        let pieces = case.pieces();
        let mut cuts = vec![0];
        for piece in &pieces {
            let begin = cuts[cuts.len() - 1];
            cuts.extend([begin + piece.len() / 2, begin + piece.len()]);
        }
        let all = pieces.concat();
        for cut in cuts {
            // It closes the connection at once, or after an answer; it is gone without a goodbye.
            for (answered, resets) in [(false, false), (true, false), (true, true)] {
                let mut tcp = case.connect(&place).await;
                tcp.write_all(&all[..cut]).await.unwrap();
                if answered {
                    let _ = tokio::time::timeout(MOMENT, tcp.read(&mut [0; 1024])).await;
                }
                if resets {
                    rustix::net::sockopt::set_socket_linger(&tcp, Some(Duration::ZERO)).unwrap();
                }
                drop(tcp);
            }
        }
        place.empty().await;
    }
    pod.empty().await;
    until("commands are hung up", || place.world.signalled().iter().all(|signal| *signal == 1)).await;
    until("nobody is attached", || place.world.print(&place.container, b".") == 0).await;
}

#[tokio::test]
async fn a_client_that_does_not_open_what_it_must_is_gone_within_the_limit() {
    let config = Config { stream_creation_timeout: SHORT, idle_timeout: SHORT * 2, ..Config::default() };
    let (place, pod) = (Place::with(config).await, Pod::new(false).await);
    let mut stalled = Vec::new();
    for case in cases("cat", pod.port) {
        for opened in 0..case.streams().len() {
            let mut tcp = case.connect(&place).await;
            tcp.write_all(&case.pieces()[..opened].concat()).await.unwrap();
            stalled.push(tcp);
        }
    }
    place.empty().await;
    for mut tcp in stalled {
        // It may be told by a reset.
        let _ = soon(tcp.read_to_end(&mut Vec::new())).await;
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_gone_within_the_limit() {
    let place = Place::with(Config { idle_timeout: SHORT, ..Config::default() }).await;
    let pod = Pod::new(true).await;
    let mut stalled = Vec::new();
    for case in cases("flood", pod.port) {
        let pieces = case.pieces();
        let mut tcp = case.connect(&place).await;
        tcp.write_all(&pieces[..pieces.len() - 1].concat()).await.unwrap();
        stalled.push(tcp);
    }
    place.world.print(&place.container, &[b'y'; 4096]);
    place.empty().await;
    pod.empty().await;
    until("nobody is attached", || place.world.print(&place.container, b".") == 0).await;
    drop(stalled);
}

#[tokio::test]
async fn ten_thousand_streams_end_any_session() {
    let (place, pod) = (Place::new().await, Pod::new(false).await);
    let named = |kind: &str| vec![("streamtype", kind.to_owned())];
    let same = [named("data"), vec![("port", "1".to_owned()), ("requestid", "x".to_owned())]].concat();
    for case in cases("wait", pod.port).into_iter().filter(|case| !matches!(case.way, Way::Channels(_))) {
        // Beside what it may have, and instead of it.
        for (begin, headers) in [(case.streams(), same.clone()), (Vec::new(), named("stdin"))] {
            let mut streams = begin;
            streams.resize(10_000, headers);
            let frames: Vec<_> = opened(&streams).iter().flat_map(|frame| case.carried(frame)).collect();
            let (mut read, mut write) = case.connect(&place).await.into_split();
            // The session ends while it still sends.
            let sending = tokio::spawn(async move { write.write_all(&frames).await.map(|()| write) });
            let _ = soon(read.read_to_end(&mut Vec::new())).await;
            place.empty().await;
            drop(sending.await);
        }
    }
    pod.empty().await;
}

#[tokio::test]
async fn channels_that_are_not_there_are_no_harm() {
    let place = Place::new().await;
    let mut client = clients::WebSocket::new(place.address, &place.exec(&["cat"], BOTH), "v5.channel.k8s.io").await;
    for channel in 1..255 {
        client.send(BINARY, &[channel, 0]).await;
        client.send(BINARY, &[255, channel]).await;
    }
    client.send(BINARY, b"\0still").await;
    client.send(BINARY, &[255, 0]).await;
    client.listen(|client| client.said(1) == "still").await;
    drop(client);
    place.empty().await;
}
