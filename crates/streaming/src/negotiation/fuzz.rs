//! Fuzz target: what anybody may send in place of a request.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::runtime::{Builder, Runtime};

use super::{Carrier, Purpose, negotiate};
use crate::limits::REQUEST_HEAD_MAX_BYTES;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap();
}

/// All that comes on a connection; the first byte says what its request is for. A request is agreed to with a protocol
/// that the client offered, or refused with a status that is the client's fault.
pub fn request(data: &[u8]) {
    let Some((&purpose, data)) = data.split_first() else { return };
    let purpose = if purpose & 1 == 0 { Purpose::Command } else { Purpose::PortForward };
    let service = service_fn(move |request: Request<Incoming>| {
        check(purpose, &request);
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    let io = tokio::io::join(data, tokio::io::sink());
    let serving =
        http1::Builder::new().max_buf_size(REQUEST_HEAD_MAX_BYTES).serve_connection(TokioIo::new(io), service);
    // A request or not.
    let _ = RUNTIME.with(|runtime| runtime.block_on(serving));
}

fn check(purpose: Purpose, request: &Request<Incoming>) {
    match negotiate(purpose, request.method(), request.headers()) {
        Ok(agreement) => {
            let offered = |name: &str| {
                let all = request.headers().values().filter_map(|value| value.to_str().ok());
                all.flat_map(|value| value.split(',')).any(|item| item.trim() == name)
            };
            let name = agreement.protocol.name;
            assert!(name.is_empty() || offered(name), "{name}");
            let spdy = agreement.protocol.carrier == Carrier::Spdy;
            assert_eq!(agreement.headers.contains_key("x-stream-protocol-version"), spdy);
            assert_eq!(agreement.headers.contains_key("sec-websocket-accept"), !spdy);
        }
        Err(refused) => assert!(refused.status.is_client_error() && !refused.message.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use cradle_testkit::fuzz::Replay;

    #[test]
    fn requests_do_no_harm() {
        let head = "GET /exec/AAAAAAAA HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n";
        let websocket =
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let offers = [
            (
                0,
                "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\
                 X-Stream-Protocol-Version: v3.channel.k8s.io, channel.k8s.io\r\n",
            ),
            (1, "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n"),
            (0, "Upgrade: SPDY/3.1, h2c\r\nX-Stream-Protocol-Version: v9\r\n"),
            (0, "Upgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"),
        ];
        let spdy = offers.map(|(purpose, offer)| format!("{}{head}{offer}\r\n", char::from(purpose)));
        let subprotocols = [
            (0, "v5.channel.k8s.io, v4.channel.k8s.io"),
            (0, "v4.base64.channel.k8s.io"),
            (1, "SPDY/3.1+portforward.k8s.io"),
        ];
        let websocket = subprotocols.map(|(purpose, names)| {
            format!("{}{head}{websocket}Sec-WebSocket-Protocol: {names}\r\n\r\n\0\0", char::from(purpose))
        });
        let others = [
            "\0POST * HTTP/1.0\r\n\r\n",
            "\0GET http://[::1]:8/a?b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ];
        let samples = spdy.into_iter().chain(websocket).chain(others.map(str::to_owned));
        Replay::new("streaming_request").run(samples.map(String::into_bytes), super::request);
    }
}
