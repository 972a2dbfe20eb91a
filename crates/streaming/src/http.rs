//! From a request to the session that begins on its connection, or to the answer that says why none does.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::limits::SESSIONS_MAX;
use crate::negotiation::{Disagreement, Protocol, Purpose, negotiate};
use crate::request;
use crate::server::Shared;
use crate::tokens::Asked;

/// A session that begins when the connection is upgraded.
pub(crate) struct Accepted {
    pub asked: Asked,
    pub protocol: &'static Protocol,
    pub upgrade: OnUpgrade,
    pub permit: OwnedSemaphorePermit,
}

pub(crate) fn answer(shared: &Shared, request: &mut Request<Incoming>) -> (Response<Full<Bytes>>, Option<Accepted>) {
    match accept(shared, request) {
        Ok((response, accepted)) => (response, Some(accepted)),
        Err(disagreement) => (refuse(disagreement), None),
    }
}

type Answer = (Response<Full<Bytes>>, Accepted);

fn accept(shared: &Shared, request: &mut Request<Incoming>) -> Result<Answer, Disagreement> {
    let asked = asked(shared, request.uri().path()).ok_or_else(not_found)?;
    let purpose = match asked.request {
        request::Request::Exec { .. } | request::Request::Attach { .. } => Purpose::Command,
        request::Request::PortForward { .. } => Purpose::PortForward,
    };
    let agreement = negotiate(purpose, request.method(), request.headers())?;
    let permit = shared.sessions.clone().try_acquire_owned().map_err(|_| {
        let message = format!("{SESSIONS_MAX} sessions are open");
        Disagreement::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = agreement.headers;
    let upgrade = hyper::upgrade::on(request);
    Ok((response, Accepted { asked, protocol: agreement.protocol, upgrade, permit }))
}

/// What the URL stands for: `/<kind>/<token>`. Its token is used up, whatever comes of it.
fn asked(shared: &Shared, path: &str) -> Option<Asked> {
    let (kind, token) = path.strip_prefix('/')?.split_once('/')?;
    let asked = shared.tokens.take(token, Instant::now())?;
    (asked.request.kind() == kind).then_some(asked)
}

/// Tells nothing: whoever guesses learns nothing from it.
fn not_found() -> Disagreement {
    Disagreement::new(StatusCode::NOT_FOUND, "not found")
}

fn refuse(disagreement: Disagreement) -> Response<Full<Bytes>> {
    let Disagreement { status, mut message, headers } = disagreement;
    message.push('\n');
    let mut response = Response::new(Full::from(message));
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().append(name, HeaderValue::from_static(value));
    }
    // A connection is for one request.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
