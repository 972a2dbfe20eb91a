//! Clients that speak the protocols by hand.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;
use crate::spdy::testing::{self, Heard, Listener};

const SPDY: &str = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ";
const WEBSOCKET: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ";

/// Sends a request and gives the connection with the head of the answer, and what came behind it.
pub async fn ask(address: SocketAddr, path: &str, headers: &str) -> (TcpStream, String, Vec<u8>) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{headers}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end = loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        assert_ne!(soon(tcp.read_buf(&mut answer)).await.unwrap(), 0, "{:?}", String::from_utf8_lossy(&answer));
    };
    let rest = answer.split_off(end);
    (tcp, String::from_utf8(answer).unwrap(), rest)
}

/// The status line's number, and the body.
pub async fn refused(address: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    let (mut tcp, head, mut body) = ask(address, path, headers).await;
    soon(tcp.read_to_end(&mut body)).await.unwrap();
    (head[9..12].parse().unwrap(), head, String::from_utf8(body).unwrap())
}

pub fn spdy_headers(version: &str) -> String {
    format!("{SPDY}{version}")
}

pub fn websocket_headers(subprotocol: &str) -> String {
    format!("{WEBSOCKET}{subprotocol}")
}

/// A client of SPDY.
pub struct Spdy {
    pub tcp: TcpStream,
    client: testing::Client,
    listener: Listener,
    unread: Vec<u8>,
    next_stream: u32,
    /// What was said on each stream.
    pub said: HashMap<u32, Vec<u8>>,
    pub ended: Vec<u32>,
    pub reset: Vec<u32>,
    /// The status of the goodbye.
    pub goodbye: Option<u32>,
}

impl Spdy {
    pub async fn new(address: SocketAddr, path: &str, version: &str) -> Self {
        let (tcp, head, unread) = ask(address, path, &spdy_headers(version)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains(&format!("x-stream-protocol-version: {version}\r\n")), "{head}");
        Spdy {
            tcp,
            client: testing::Client::new(),
            listener: Listener::new(),
            unread,
            next_stream: 1,
            said: HashMap::new(),
            ended: Vec::new(),
            reset: Vec::new(),
            goodbye: None,
        }
    }

    /// A client of a command, with these streams.
    pub async fn command(address: SocketAddr, path: &str, version: &str, kinds: &[&str]) -> Self {
        let mut client = Self::new(address, path, version).await;
        for kind in kinds {
            client.open(&[("streamtype", kind)]).await;
        }
        client
    }

    pub async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let frame = self.client.open(stream, headers);
        self.send(&frame).await;
        stream
    }

    /// Opens the two streams of a connection; gives that of its data and that of its error.
    pub async fn forward(&mut self, port: u16, request: &str) -> (u32, u32) {
        let port = port.to_string();
        let mut streams = [0; 2];
        for (stream, kind) in streams.iter_mut().zip(["error", "data"]) {
            *stream = self.open(&[("streamtype", kind), ("port", &port), ("requestid", request)]).await;
        }
        (streams[1], streams[0])
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // The server may have ended the session.
        let _ = self.tcp.write_all(bytes).await;
    }

    pub async fn say(&mut self, stream: u32, bytes: &[u8], last: bool) {
        self.send(&testing::data(stream, bytes, last)).await;
    }

    /// Reads until `enough`, or the end of the connection.
    pub async fn listen(&mut self, enough: impl Fn(&Self) -> bool) {
        let listening = async {
            loop {
                let bytes = std::mem::take(&mut self.unread);
                for heard in self.listener.hear(&bytes) {
                    match heard {
                        Heard::Said(stream, bytes) => self.said.entry(stream).or_default().extend(bytes),
                        Heard::Ended(stream) => self.ended.push(stream),
                        Heard::Reset(stream) => self.reset.push(stream),
                        Heard::Goodbye(status) => self.goodbye = Some(status),
                        Heard::Other => {}
                    }
                }
                if enough(self) || !matches!(self.tcp.read_buf(&mut self.unread).await, Ok(1..)) {
                    return;
                }
            }
        };
        soon(listening).await;
    }

    /// Reads until the server has closed the connection.
    pub async fn listen_to_the_end(&mut self) {
        self.listen(|_| false).await;
    }

    pub fn said(&self, stream: u32) -> String {
        String::from_utf8_lossy(self.said.get(&stream).map_or(&[], Vec::as_slice)).into_owned()
    }
}

/// A message of a WebSocket client, whose mask is nothing.
pub fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).unwrap();
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
/// Goodbyes: of any client, of a browser's page that is left, of one that detaches.
pub const NORMAL: &[u8] = &1000_u16.to_be_bytes();
pub const GOING_AWAY: &[u8] = &1001_u16.to_be_bytes();
pub const DETACH: &[u8] = &4000_u16.to_be_bytes();
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A client of WebSocket.
pub struct WebSocket {
    pub tcp: TcpStream,
    unread: Vec<u8>,
    /// Kinds and payloads of messages.
    pub heard: Vec<(u8, Vec<u8>)>,
}

impl WebSocket {
    pub async fn new(address: SocketAddr, path: &str, subprotocol: &str) -> Self {
        let (tcp, head, unread) = ask(address, path, &websocket_headers(subprotocol)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains(&format!("sec-websocket-protocol: {subprotocol}\r\n")), "{head}");
        WebSocket { tcp, unread, heard: Vec::new() }
    }

    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.tcp.write_all(&message(opcode, payload)).await.unwrap();
    }

    /// Reads until `enough`, or the end of the connection.
    pub async fn listen(&mut self, enough: impl Fn(&Self) -> bool) {
        let listening = async {
            loop {
                while let Some((opcode, payload, length)) = parse(&self.unread) {
                    self.heard.push((opcode, payload));
                    self.unread.drain(..length);
                }
                if enough(self) || !matches!(self.tcp.read_buf(&mut self.unread).await, Ok(1..)) {
                    return;
                }
            }
        };
        soon(listening).await;
    }

    /// Everything that was said on a channel.
    pub fn said(&self, channel: u8) -> String {
        let of_channel = self.heard.iter().filter(|(opcode, payload)| *opcode <= BINARY && payload[0] == channel);
        String::from_utf8(of_channel.flat_map(|(_, payload)| payload[1..].to_vec()).collect()).unwrap()
    }
}

/// The first message of a server: its kind, its payload, and the length of it all.
fn parse(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (start, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).unwrap()),
        length => (2, usize::from(length)),
    };
    let payload = bytes.get(start..start + length)?;
    Some((bytes[0] & 15, payload.to_vec(), start + length))
}
