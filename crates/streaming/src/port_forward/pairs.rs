//! Connections whose two streams a client opens with headers: `streamType` error or data, the `port`, and a `requestID`
//! that both have.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::connection::{Forward, Inlet, inlet};
use crate::carrier::{Event, Gone, Writer};
use crate::limits::FORWARDS_MAX;
use crate::server::Shared;
use crate::spdy::{self, Headers};

const STREAM_TYPE: &str = "streamtype";
const PORT: &str = "port";
const REQUEST_ID: &str = "requestid";

/// Serves until the client is gone; its connections go with it.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    reader: &mut spdy::Reader,
    writer: &Writer,
    pod: &str,
) -> Result<(), Gone> {
    let mut pairs = Pairs {
        shared: shared.clone(),
        writer: writer.clone(),
        pod: pod.into(),
        by_request: HashMap::new(),
        by_stream: HashMap::new(),
        running: JoinSet::new(),
    };
    loop {
        match reader.next().await? {
            Event::Opened { stream, headers } => {
                pairs.forget_ended(reader);
                match Half::read(stream, &headers) {
                    Some(half) if pairs.has_place(&half) => {
                        reader.accept(stream).await?;
                        pairs.add(half);
                    }
                    _ => reader.refuse(stream).await?,
                }
            }
            Event::Data { stream } => {
                if let Some(inlet) = pairs.inlet(stream) {
                    inlet.put(reader.data(), &shared.buffers).await;
                }
            }
            Event::Ended { stream } => {
                if let Some(inlet) = pairs.inlet(stream) {
                    inlet.end();
                }
            }
            Event::Reset { stream } => {
                if let Some(inlet) = pairs.inlet(stream) {
                    inlet.give_up();
                }
            }
        }
    }
}

/// One of a connection's two streams.
#[derive(Debug)]
struct Half {
    stream: u32,
    kind: Kind,
    port: u16,
    request: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

impl Half {
    /// What a stream's headers say; none: they are incomplete.
    fn read(stream: u32, headers: &Headers) -> Option<Half> {
        let kind = match headers.get(STREAM_TYPE)? {
            "data" => Kind::Data,
            "error" => Kind::Error,
            _ => return None,
        };
        let port = headers.get(PORT)?.parse().ok().filter(|port| *port > 0)?;
        // Clients that give no id open both streams of a connection in a row, that of the error first.
        let first = if kind == Kind::Error { stream } else { stream.saturating_sub(2) };
        let request = headers.get(REQUEST_ID).map_or_else(|| format!("stream {first}"), str::to_owned);
        Some(Half { stream, kind, port, request })
    }
}

/// The connections of a session.
struct Pairs {
    shared: Arc<Shared>,
    writer: Writer,
    pod: Arc<str>,
    by_request: HashMap<String, Pair>,
    /// The request of each data stream.
    by_stream: HashMap<u32, String>,
    /// Each ends with its request.
    running: JoinSet<String>,
}

struct Pair {
    /// Where the other stream is awaited; none: both are there.
    other: Option<oneshot::Sender<Half>>,
    first: Kind,
    streams: Vec<u32>,
    inlet: Inlet,
}

impl Pairs {
    /// Gives back what connections had that are over.
    fn forget_ended(&mut self, reader: &mut spdy::Reader) {
        while let Some(ended) = self.running.try_join_next() {
            // A panic was reported by the runtime; its entry stays until the session ends.
            let Some(pair) = ended.ok().and_then(|request| self.by_request.remove(&request)) else { continue };
            for stream in pair.streams {
                self.by_stream.remove(&stream);
                reader.forget(stream);
            }
        }
    }

    /// Whether a stream begins a connection of which there are not too many, or is the other one of a connection.
    fn has_place(&self, half: &Half) -> bool {
        match self.by_request.get(&half.request) {
            Some(pair) => pair.other.is_some() && pair.first != half.kind,
            None => self.by_request.len() < FORWARDS_MAX,
        }
    }

    fn add(&mut self, half: Half) {
        if half.kind == Kind::Data {
            self.by_stream.insert(half.stream, half.request.clone());
        }
        if let Some(pair) = self.by_request.get_mut(&half.request) {
            pair.streams.push(half.stream);
            if let Some(other) = pair.other.take() {
                // It has waited too long, and its end is about to be noticed.
                let _ = other.send(half);
            }
            return;
        }
        let (sender, other) = oneshot::channel();
        let (inlet, incoming) = inlet();
        let pair = Pair { other: Some(sender), first: half.kind, streams: vec![half.stream], inlet };
        let request = half.request.clone();
        self.by_request.insert(request.clone(), pair);
        let (shared, writer, pod) = (self.shared.clone(), self.writer.clone(), self.pod.clone());
        let request_id = cradle_engine::request::current();
        self.running.spawn(cradle_engine::request::scope(request_id, async move {
            let within = shared.config.stream_creation_timeout;
            let forward = match tokio::time::timeout(within, other).await {
                Ok(Ok(other)) => forward(shared, writer, pod, half, other),
                _ => {
                    // The client may be gone.
                    let _ = writer.outlet(half.stream).reset().await;
                    return request;
                }
            };
            // An error says that the client is gone, which ends the session.
            let _ = forward.run(incoming).await;
            request
        }));
    }

    fn inlet(&mut self, stream: u32) -> Option<&mut Inlet> {
        let request = self.by_stream.get(&stream)?;
        self.by_request.get_mut(request).map(|pair| &mut pair.inlet)
    }
}

fn forward(shared: Arc<Shared>, writer: Writer, pod: Arc<str>, one: Half, other: Half) -> Forward {
    let (data, error) = if one.kind == Kind::Data { (one, other) } else { (other, one) };
    let (port, data, error) = (data.port, writer.outlet(data.stream), writer.outlet(error.stream));
    Forward { shared, pod, port, data, error }
}
