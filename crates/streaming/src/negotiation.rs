//! Which protocol is spoken on a connection after its upgrade: a pure function of the request.
//!
//! Clients of SPDY offer versions in a header of Kubernetes' own, those of WebSocket subprotocols in the standard's. Of
//! what a client offers, the first that we know counts.

use http::header::{
    ALLOW, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::websocket::accept_key;
use crate::websocket::channels::Framing;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";
const WEBSOCKET: &str = "websocket";
const WEBSOCKET_VERSION: &str = "13";

/// What carries the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Spdy,
    SpdyInWebSocket,
    Channels(Framing),
}

/// How the end of a command is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusForm {
    /// An object of the Kubernetes API in JSON; it has the exit code.
    Json,
    /// A text if it failed, nothing otherwise.
    Text,
}

/// One of the protocols that we speak.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub name: &'static str,
    pub carrier: Carrier,
    pub status: StatusForm,
    /// Clients with a terminal tell its size.
    pub resize: bool,
}

const fn spdy(name: &'static str, status: StatusForm, resize: bool) -> Protocol {
    Protocol { name, carrier: Carrier::Spdy, status, resize }
}

const fn channels(name: &'static str, framing: Framing, status: StatusForm) -> Protocol {
    Protocol { name, carrier: Carrier::Channels(framing), status, resize: true }
}

const BINARY: Framing = Framing::Binary { close_signal: false };

/// Those of exec and attach over SPDY.
static COMMAND_SPDY: [Protocol; 4] = [
    spdy("v4.channel.k8s.io", StatusForm::Json, true),
    spdy("v3.channel.k8s.io", StatusForm::Text, true),
    spdy("v2.channel.k8s.io", StatusForm::Text, false),
    spdy("channel.k8s.io", StatusForm::Text, false),
];

/// Those of exec and attach over WebSocket. The nameless one is for clients that offer none.
static COMMAND_WEBSOCKET: [Protocol; 6] = [
    channels("v5.channel.k8s.io", Framing::Binary { close_signal: true }, StatusForm::Json),
    channels("v4.channel.k8s.io", BINARY, StatusForm::Json),
    channels("v4.base64.channel.k8s.io", Framing::Base64, StatusForm::Json),
    channels("channel.k8s.io", BINARY, StatusForm::Text),
    channels("base64.channel.k8s.io", Framing::Base64, StatusForm::Text),
    channels("", BINARY, StatusForm::Text),
];

static FORWARD_SPDY: [Protocol; 1] = [spdy("portforward.k8s.io", StatusForm::Text, false)];

static FORWARD_WEBSOCKET: [Protocol; 5] = [
    Protocol { carrier: Carrier::SpdyInWebSocket, ..spdy("SPDY/3.1+portforward.k8s.io", StatusForm::Text, false) },
    // What v5 adds for commands, `cradle port-forward` uses in both directions.
    channels("v5.channel.k8s.io", Framing::Binary { close_signal: true }, StatusForm::Text),
    channels("v4.channel.k8s.io", BINARY, StatusForm::Text),
    channels("v4.base64.channel.k8s.io", Framing::Base64, StatusForm::Text),
    channels("", BINARY, StatusForm::Text),
];

/// What is asked for on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Command,
    PortForward,
}

/// The protocol that is spoken, and the headers of the answer 101 that says so.
#[derive(Debug)]
pub(crate) struct Agreement {
    pub protocol: &'static Protocol,
    pub headers: HeaderMap,
}

/// Why none is.
#[derive(Debug)]
pub(crate) struct Disagreement {
    pub status: StatusCode,
    pub message: String,
    pub headers: Vec<(HeaderName, &'static str)>,
}

impl Disagreement {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Disagreement { status, message: message.into(), headers: Vec::new() }
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

pub(crate) fn negotiate(purpose: Purpose, method: &Method, headers: &HeaderMap) -> Result<Agreement, Disagreement> {
    if method != Method::GET && method != Method::POST {
        let message = format!("method {method} is not allowed");
        return Err(Disagreement::new(StatusCode::METHOD_NOT_ALLOWED, message).with(ALLOW, "GET, POST"));
    }
    let upgrades = items(headers, &CONNECTION).any(|item| item.eq_ignore_ascii_case("upgrade"));
    let upgrade = |to: &str| upgrades && items(headers, &UPGRADE).any(|item| item.eq_ignore_ascii_case(to));
    match (upgrade(SPDY), upgrade(WEBSOCKET), purpose) {
        (true, _, Purpose::Command) => negotiate_spdy(headers, &COMMAND_SPDY),
        (true, _, Purpose::PortForward) => negotiate_spdy(headers, &FORWARD_SPDY),
        (false, true, Purpose::Command) => negotiate_websocket(method, headers, &COMMAND_WEBSOCKET),
        (false, true, Purpose::PortForward) => negotiate_websocket(method, headers, &FORWARD_WEBSOCKET),
        (false, false, _) => {
            let message = format!("the connection must be upgraded to {SPDY} or {WEBSOCKET}");
            Err(Disagreement::new(StatusCode::BAD_REQUEST, message))
        }
    }
}

fn negotiate_spdy(headers: &HeaderMap, known: &'static [Protocol]) -> Result<Agreement, Disagreement> {
    let mut offered = items(headers, &STREAM_PROTOCOL).filter(|name| !name.is_empty()).peekable();
    if offered.peek().is_none() {
        let message = format!("the header {STREAM_PROTOCOL} is missing or empty");
        return Err(Disagreement::new(StatusCode::BAD_REQUEST, message));
    }
    let protocol = offered.find_map(|name| known.iter().find(|protocol| protocol.name == name));
    let protocol = protocol.ok_or_else(|| unknown(known))?;
    let mut answer = switching(SPDY);
    answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol.name));
    Ok(Agreement { protocol, headers: answer })
}

fn negotiate_websocket(
    method: &Method,
    headers: &HeaderMap,
    known: &'static [Protocol],
) -> Result<Agreement, Disagreement> {
    if method != Method::GET {
        let message = format!("method {method} is not allowed for WebSocket");
        return Err(Disagreement::new(StatusCode::METHOD_NOT_ALLOWED, message).with(ALLOW, "GET"));
    }
    if items(headers, &SEC_WEBSOCKET_VERSION).all(|version| version != WEBSOCKET_VERSION) {
        let message = format!("only version {WEBSOCKET_VERSION} of WebSocket is spoken");
        let refused = Disagreement::new(StatusCode::UPGRADE_REQUIRED, message);
        return Err(refused.with(SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()) else {
        let message = format!("the header {SEC_WEBSOCKET_KEY} is missing");
        return Err(Disagreement::new(StatusCode::BAD_REQUEST, message));
    };
    let offers_none = !headers.contains_key(SEC_WEBSOCKET_PROTOCOL);
    let mut offered = items(headers, &SEC_WEBSOCKET_PROTOCOL).chain(offers_none.then_some(""));
    let protocol = offered.find_map(|name| known.iter().find(|protocol| protocol.name == name));
    let protocol = protocol.ok_or_else(|| unknown(known))?;
    let mut answer = switching(WEBSOCKET);
    let accept = HeaderValue::from_str(&accept_key(key.trim()));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept.unwrap_or(HeaderValue::from_static("")));
    if !protocol.name.is_empty() {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.name));
    }
    Ok(Agreement { protocol, headers: answer })
}

/// The items of a header that is a list, in all its lines.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn switching(to: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("Upgrade")), (UPGRADE, HeaderValue::from_static(to))])
}

fn unknown(known: &'static [Protocol]) -> Disagreement {
    let names = || known.iter().map(|protocol| protocol.name).filter(|name| !name.is_empty());
    let message =
        format!("none of the offered protocols is spoken; these are: {}", names().collect::<Vec<_>>().join(", "));
    let refused = Disagreement::new(StatusCode::FORBIDDEN, message);
    names().fold(refused, |refused, name| refused.with(ACCEPTED_PROTOCOLS, name))
}

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod tests;
