//! One question to one host: redirects are followed, a challenge is answered once, and what is not a success becomes a
//! [`HostFailure`].
//!
//! Invariant: `Authorization` and the headers of `hosts.toml` go to the host's own origin and to no other, wherever it
//! redirects to (tests/auth.rs).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;

use crate::challenge::{self, Challenge};
use crate::client::Core;
use crate::connect::Route;
use crate::credentials::Secret;
use crate::endpoint::{Endpoint, Identity};
use crate::failure::{HostFailure, Said};
use crate::limits;
use crate::origin::{Origin, Url};
use crate::pool::{Request, Response, no_body};

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("cradle/", env!("CARGO_PKG_VERSION")));

/// What is asked of a host.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// `manifests` or `blobs`.
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
    pub(crate) accept: Option<HeaderValue>,
    /// The first byte that is wanted.
    pub(crate) offset: u64,
    pub(crate) answer_within: Duration,
}

impl Core {
    /// Asks; answers with a response whose status is 200 or 206.
    pub(crate) async fn ask(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Response, HostFailure> {
        let (mut proof, mut is_fresh) = match &endpoint.identity {
            Identity::Known { secret: Secret::RegistryToken(token), .. } => {
                (HeaderValue::from_str(&format!("Bearer {token}")).ok(), true)
            }
            _ => (self.tokens.kept(endpoint), false),
        };
        loop {
            let (response, from) = self.follow(endpoint, ask, proof.as_ref()).await?;
            match response.head.status {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(response),
                // A refusal by whoever the host sent us to is not for our credentials to answer.
                StatusCode::UNAUTHORIZED if from == endpoint.host.origin => {
                    self.tokens.forget(endpoint);
                    let answer = if is_fresh { None } else { self.answer(endpoint, &response.head.headers).await? };
                    if answer.is_none() {
                        return Err(failure_of(endpoint, response, &from).await);
                    }
                    proof = answer;
                    is_fresh = true;
                    response.body.drained().await;
                }
                _ => return Err(failure_of(endpoint, response, &from).await),
            }
        }
    }

    async fn answer(&self, endpoint: &Endpoint, headers: &HeaderMap) -> Result<Option<HeaderValue>, HostFailure> {
        let texts = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = texts.flat_map(challenge::parse).collect();
        self.prove(endpoint, &challenges).await
    }

    /// Sends the request and follows redirects; answers with the response and the origin that it came from.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        proof: Option<&HeaderValue>,
    ) -> Result<(Response, Origin), HostFailure> {
        let mut url = endpoint.url(ask.kind, ask.name).map_err(HostFailure::Request)?;
        for _ in 0..=limits::REDIRECTS_MAX {
            let route = endpoint.route(&url.origin, &self.tls, &self.config.proxy).await?;
            let mut request = blank_request(ask.method.clone(), &url, &route, no_body());
            let headers = request.headers_mut();
            headers.extend(ask.accept.clone().map(|accept| (header::ACCEPT, accept)));
            if ask.offset > 0
                && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", ask.offset))
            {
                headers.insert(header::RANGE, range);
            }
            if url.origin == endpoint.host.origin {
                for (name, value) in &endpoint.host.headers {
                    headers.append(name, value.clone());
                }
                if let Some(proof) = proof {
                    headers.insert(header::AUTHORIZATION, proof.clone());
                }
            }
            let response = self.pool.request(&route, request, ask.answer_within).await?;
            let Some(location) = redirection(&response) else { return Ok((response, url.origin)) };
            let next = url.join(&location).map_err(HostFailure::Location)?;
            if url.origin.is_secure() && !next.origin.is_secure() {
                return Err(HostFailure::Downgrade { to: next });
            }
            response.body.drained().await;
            url = next;
        }
        Err(HostFailure::Redirects)
    }
}

/// Where a response leads, if that is all that it says.
fn redirection(response: &Response) -> Option<String> {
    match response.head.status.as_u16() {
        301 | 302 | 303 | 307 | 308 => {
            let location = response.head.headers.get(header::LOCATION)?;
            Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
        }
        _ => None,
    }
}

/// A request with the headers that every one has, in the form that the route needs.
pub(crate) fn blank_request(method: Method, url: &Url, route: &Route, body: Full<Bytes>) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    let authority = url.origin.authority();
    let uri = match (&url.origin, &route.proxy) {
        // A proxy for plain HTTP learns the host from the target (RFC 9112, section 3.2.2).
        (Origin::Http(_), Some(_)) => format!("http://{authority}{}", url.target).parse().unwrap_or_default(),
        _ => http::Uri::from(url.target.clone()),
    };
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&authority) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::USER_AGENT, USER_AGENT);
    // What is hashed and counted are the bytes of the blob, not of a transfer encoding.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let (Origin::Http(_), Some(proxy)) = (&url.origin, &route.proxy) {
        headers.extend(proxy.authorization.clone().map(|value| (header::PROXY_AUTHORIZATION, value)));
    }
    request
}

/// What a response of `from` that is no success means; reads what is said about it.
pub(crate) async fn failure_of(endpoint: &Endpoint, response: Response, from: &Origin) -> HostFailure {
    let status = response.head.status;
    let retry_after =
        response.head.headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    let body = response.body.drained().await;
    // A registry chooses where it redirects to; what some service of this network answers there is not for the eyes of
    // whoever named the image.
    let said = if *from == endpoint.host.origin { Said::read(&body) } else { Said::read_document(&body) };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let sent = match &endpoint.identity {
                Identity::Anonymous { why } => format!("no credentials were sent: {why}"),
                known @ Identity::Known { .. } => format!("not satisfied with {}", known.describe()),
            };
            HostFailure::Denied { status, said, sent }
        }
        _ => HostFailure::Status { status, said, retry_after },
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let wait = retry_after(&later).unwrap();
        assert!((Duration::from_secs(90)..=Duration::from_secs(100)).contains(&wait), "{wait:?}");
        assert_eq!(retry_after("soon"), None);
    }
}
