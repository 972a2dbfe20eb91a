//! One connection of the registry: requests are read, answered, and answered wrongly where a rule says so.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{Behaviour, Guard, Seen, State, digest_of};

/// Longest head or body of a request; the clients of tests send less.
const REQUEST_MAX_BYTES: usize = 64 << 10;
/// How much of a body is written at once.
const WRITE_BYTES: usize = 256 << 10;
const SURPLUS: [u8; 1024] = [b'x'; 1024];

/// A connection that can be reset.
pub(super) trait Link: AsyncRead + AsyncWrite + Unpin + Send {
    /// The kernel sends a reset when the connection is dropped.
    fn reset_on_drop(&self);
}

impl Link for TcpStream {
    fn reset_on_drop(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Link for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset_on_drop(&self) {
        let _ = self.get_ref().0.set_zero_linger();
    }
}

impl Link for UnixStream {
    fn reset_on_drop(&self) {}
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    delivery: Delivery,
}

#[derive(Clone)]
struct Body {
    bytes: Arc<[u8]>,
    from: usize,
}

impl Body {
    fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Body { bytes: bytes.into(), from: 0 }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

/// How the body leaves.
enum Delivery {
    Whole,
    Silent,
    Drip(std::time::Duration),
    BreakAfter { bytes: u64, reset: bool },
    Chunked { surplus: u64 },
    Endless,
}

impl Answer {
    fn new(status: u16, body: Body) -> Self {
        Answer { status, headers: Vec::new(), body, delivery: Delivery::Whole }
    }

    fn plain(status: u16, text: &str) -> Self {
        Answer::new(status, Body::new(text.as_bytes()))
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Replaces a header, or removes it if the value is empty.
    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// Serves one connection until either side has enough. Errors end it: the client sees them.
pub(super) async fn converse(mut link: impl Link, state: Arc<Mutex<State>>) {
    let connection = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.connections += 1;
        state.connections - 1
    };
    let mut buffer = Vec::new();
    while let Some(mut request) = read_request(&mut link, &mut buffer).await {
        request.connection = connection;
        let answer = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.seen.push(request.clone());
            state.answer(&request)
        };
        if !deliver(&mut link, &request, answer).await.unwrap_or(false) {
            return;
        }
    }
}

async fn read_request(link: &mut impl Link, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > REQUEST_MAX_BYTES || link.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        if !buffer[0].is_ascii_uppercase() {
            // A TLS handshake, most likely; servers answer it like this.
            let _ = link.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let mut seen =
        Seen { method, target, headers: lines.filter_map(header).collect(), body: String::new(), connection: 0 };
    let length = seen.header("content-length").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    while buffer.len() < head_end + length.min(REQUEST_MAX_BYTES) {
        if link.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = String::from_utf8_lossy(&buffer[head_end..head_end + length]).into_owned();
    buffer.drain(..head_end + length);
    Some(seen)
}

impl State {
    fn answer(&mut self, request: &Seen) -> Answer {
        let line = format!("{} {}", request.method, request.target);
        let rule = self.rules.iter_mut().find(|rule| rule.times_left > 0 && line.contains(&rule.pattern));
        let behaviour = rule.map(|rule| {
            rule.times_left -= 1;
            rule.behaviour.clone()
        });
        if let Some(Behaviour::Status { status, headers, body }) = &behaviour {
            let answer = Answer::plain(*status, body);
            return headers.iter().fold(answer, |answer, (name, value)| answer.with(name, value));
        }
        let honest = self.honest(request);
        match behaviour {
            Some(behaviour) => misbehaved(honest, behaviour, request),
            None => ranged(honest, request),
        }
    }

    fn honest(&self, request: &Seen) -> Answer {
        let path = request.target.split('?').next().unwrap_or_default();
        if path == "/token" {
            return self.token(request);
        }
        if let Some(refusal) = self.refusal(request) {
            return refusal;
        }
        let unknown = |code: &str| {
            Answer::plain(404, &format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"not here\"}}]}}"))
        };
        let Some(name) = path.strip_prefix("/v2/") else { return Answer::plain(404, "no such page") };
        if let Some((_, digest)) = name.split_once("/blobs/") {
            return match self.blobs.get(digest) {
                Some(bytes) => Answer::new(200, Body::new(bytes.clone()))
                    .with("Content-Type", "application/octet-stream")
                    .with("Docker-Content-Digest", digest),
                None => unknown("BLOB_UNKNOWN"),
            };
        }
        match self.manifests.get(name) {
            Some(manifest) => Answer::new(200, Body::new(manifest.bytes.clone()))
                .with("Content-Type", &manifest.media_type)
                .with("Docker-Content-Digest", digest_of(&manifest.bytes).as_str()),
            None if name.is_empty() => Answer::plain(200, "{}"),
            None => unknown("MANIFEST_UNKNOWN"),
        }
    }

    fn refusal(&self, request: &Seen) -> Option<Answer> {
        let (expected, challenge) = match &self.guard {
            Guard::Open => return None,
            Guard::Basic(user) => (format!("Basic {}", STANDARD.encode(user)), "Basic realm=\"test\"".to_owned()),
            Guard::Bearer { realm, token } => {
                let scope = scope_of(&request.target);
                let challenge = format!("Bearer realm=\"{realm}\",service=\"test\",scope=\"{scope}\"");
                (format!("Bearer {token}"), challenge)
            }
        };
        let refused = request.header("authorization") != Some(expected.as_str());
        let body = "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}";
        refused.then(|| Answer::plain(401, body).with("WWW-Authenticate", &challenge))
    }

    fn token(&self, request: &Seen) -> Answer {
        let Some(server) = &self.tokens else { return Answer::plain(404, "no tokens here") };
        let allowed = match (request.method.as_str(), &server.identity_token, &server.user) {
            ("POST", Some(token), _) => request.body.split('&').any(|field| field == format!("refresh_token={token}")),
            ("GET", _, Some(user)) => {
                request.header("authorization") == Some(format!("Basic {}", STANDARD.encode(user)).as_str())
            }
            ("GET", None, None) => true,
            _ => false,
        };
        if !allowed {
            return Answer::plain(401, "{\"details\":\"incorrect username or password\"}");
        }
        let name = if request.method == "POST" { "access_token" } else { "token" };
        Answer::plain(200, &format!("{{\"{name}\":\"{}\",\"expires_in\":{}}}", server.token, server.expires_in))
    }
}

fn scope_of(target: &str) -> String {
    let name = target.trim_start_matches("/v2/");
    let end = name.find("/manifests/").or_else(|| name.find("/blobs/")).unwrap_or(name.len());
    format!("repository:{}:pull", &name[..end])
}

fn ranged(mut answer: Answer, request: &Seen) -> Answer {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let Some(from) = range.and_then(|from| from.parse::<usize>().ok()).filter(|_| answer.status == 200) else {
        return answer;
    };
    let size = answer.body.bytes.len();
    if from >= size {
        return Answer::plain(416, "").with("Content-Range", &format!("bytes */{size}"));
    }
    answer.body.from = from;
    answer.status = 206;
    answer.with("Content-Range", &format!("bytes {from}-{}/{size}", size - 1))
}

fn misbehaved(honest: Answer, behaviour: Behaviour, request: &Seen) -> Answer {
    let mut answer = match behaviour {
        Behaviour::IgnoreRange | Behaviour::WrongRange | Behaviour::Length(_) | Behaviour::Bytes(_) => honest,
        _ => ranged(honest, request),
    };
    match behaviour {
        Behaviour::Status { .. } | Behaviour::IgnoreRange => (),
        Behaviour::Headers(headers) => headers.iter().for_each(|(name, value)| answer.set(name, value)),
        Behaviour::Bytes(bytes) => answer.body = Body::new(bytes),
        Behaviour::Length(length) => {
            let mut bytes = answer.body.get().to_vec();
            bytes.resize(usize::try_from(length).unwrap_or(usize::MAX), b' ');
            answer.body = Body::new(bytes);
        }
        Behaviour::WrongRange => {
            let size = answer.body.bytes.len();
            answer.status = 206;
            answer.set("Content-Range", &format!("bytes 0-{}/{size}", size.saturating_sub(1)));
        }
        Behaviour::Silence => answer.delivery = Delivery::Silent,
        Behaviour::Drip(pause) => answer.delivery = Delivery::Drip(pause),
        Behaviour::ResetAfter(bytes) => answer.delivery = Delivery::BreakAfter { bytes, reset: true },
        Behaviour::CloseAfter(bytes) => answer.delivery = Delivery::BreakAfter { bytes, reset: false },
        Behaviour::Chunked { surplus } => answer.delivery = Delivery::Chunked { surplus },
        Behaviour::Endless => answer.delivery = Delivery::Endless,
    }
    answer
}

/// Answers whether the connection can serve another request.
async fn deliver(link: &mut impl Link, request: &Seen, answer: Answer) -> std::io::Result<bool> {
    let body = answer.body.get();
    let is_chunked = matches!(answer.delivery, Delivery::Chunked { .. } | Delivery::Endless);
    let mut head = format!("HTTP/1.1 {} Test\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if is_chunked {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    } else {
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    }
    if matches!(answer.delivery, Delivery::Silent) {
        pending::<()>().await;
    }
    link.write_all(head.as_bytes()).await?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    match answer.delivery {
        Delivery::Whole | Delivery::Silent => link.write_all(body).await?,
        Delivery::Drip(pause) => {
            for byte in body {
                link.write_all(&[*byte]).await?;
                link.flush().await?;
                tokio::time::sleep(pause).await;
            }
        }
        Delivery::BreakAfter { bytes, reset } => {
            let end = usize::try_from(bytes).unwrap_or(usize::MAX).min(body.len());
            link.write_all(&body[..end]).await?;
            link.flush().await?;
            if reset {
                link.reset_on_drop();
            }
            return Ok(false);
        }
        Delivery::Chunked { surplus } => {
            for part in body.chunks(WRITE_BYTES) {
                write_chunk(link, part).await?;
            }
            let surplus = vec![b'x'; usize::try_from(surplus).unwrap_or(0)];
            if !surplus.is_empty() {
                write_chunk(link, &surplus).await?;
            }
            link.write_all(b"0\r\n\r\n").await?;
        }
        Delivery::Endless => loop {
            write_chunk(link, &SURPLUS).await?;
        },
    }
    link.flush().await?;
    Ok(true)
}

async fn write_chunk(link: &mut impl Link, bytes: &[u8]) -> std::io::Result<()> {
    link.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    link.write_all(bytes).await?;
    link.write_all(b"\r\n").await
}
