//! Why one host did not serve what it was asked for, and what follows when none did.

use std::fmt;
use std::time::Duration;

use cradle_domain::failure::Chain;
use cradle_domain::{Class, Digest};
use http::StatusCode;

use crate::connect::ConnectError;
use crate::limits;
use crate::origin::{BadUrl, Origin, Url};
use crate::retry::Again;
use crate::tls::TrustError;

/// Why one host did not serve what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HostFailure {
    #[error("the certificates configured for it cannot be used")]
    Trust(#[source] TrustError),
    #[error(transparent)]
    Connect(ConnectError),
    #[error("a request that cannot be written")]
    Request(#[source] BadUrl),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("answered {status}{said}")]
    Status { status: StatusCode, said: Said, retry_after: Option<Duration> },
    #[error("answered {status}{said}; {sent}")]
    Denied { status: StatusCode, said: Said, sent: String },
    #[error("wants a way of authentication that is not supported ({offered})")]
    Scheme { offered: String },
    #[error("the token server {realm} gave no token")]
    Token { realm: Url, source: Box<HostFailure> },
    #[error("the token server's answer holds no token")]
    NoToken,
    #[error("sends credentials in the clear to {realm}, although it is itself reached by TLS")]
    InsecureRealm { realm: Url },
    #[error("redirected more than {} times", limits::REDIRECTS_MAX)]
    Redirects,
    #[error("redirects from TLS to plain http at {to}")]
    Downgrade { to: Url },
    #[error("redirects to nowhere")]
    Location(#[source] BadUrl),
    #[error("answered with more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("sent the body too slowly: not done within {0:?}")]
    Slow(Duration),
    #[error("sent {got}, not {expected}")]
    Digest { expected: Digest, got: Digest },
    #[error("said {said} of a manifest whose digest is {got}")]
    HeaderDigest { said: Digest, got: Digest },
    #[error("serves a manifest of schema 1, which nothing protects against changes and which is not supported")]
    SchemaOne,
    #[error("answered with {0:?}, which is no manifest")]
    NotManifest(String),
    #[error("says that the blob has {said} bytes, where the manifest says {expected}")]
    Length { said: u64, expected: u64 },
    #[error("sent more than the {expected} bytes that the manifest says")]
    TooLong { expected: u64 },
    #[error("ended the transfer after {got} of {expected} bytes")]
    Short { got: u64, expected: u64 },
    #[error("sent another part of the blob than the one asked for ({0})")]
    Range(String),
    #[error("made no progress for {0:?}")]
    Stalled(Duration),
}

impl HostFailure {
    pub(crate) fn again(&self) -> Again {
        match self {
            HostFailure::Connect(error) => error.again(),
            HostFailure::Broken(_) | HostFailure::Short { .. } => Again::Later,
            HostFailure::Stalled(_) => Again::Once,
            HostFailure::Status { status, retry_after, .. } => match (status.as_u16(), retry_after) {
                (429 | 500..=599, Some(after)) => Again::After(*after),
                (408 | 425 | 429 | 500 | 502..=504 | 506..=599, None) => Again::Later,
                _ => Again::Never,
            },
            HostFailure::Token { source, .. } => source.again(),
            _ => Again::Never,
        }
    }

    pub(crate) fn class(&self) -> Class {
        match self {
            HostFailure::Trust(_) | HostFailure::TooLarge { .. } | HostFailure::SchemaOne => Class::Invalid,
            HostFailure::Status { status, .. } if *status == StatusCode::NOT_FOUND => Class::NotFound,
            HostFailure::Denied { .. } | HostFailure::Scheme { .. } | HostFailure::InsecureRealm { .. } => {
                Class::Denied
            }
            // A token server's 404 says nothing of the image.
            HostFailure::Token { source, .. } => match source.class() {
                Class::NotFound => Class::Unavailable,
                class => class,
            },
            HostFailure::NoAnswer(_) | HostFailure::Slow(_) | HostFailure::Stalled(_) => Class::Deadline,
            HostFailure::Digest { .. }
            | HostFailure::HeaderDigest { .. }
            | HostFailure::NotManifest(_)
            | HostFailure::Length { .. }
            | HostFailure::TooLong { .. }
            | HostFailure::Range(_) => Class::Corrupt,
            _ => Class::Unavailable,
        }
    }

    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        use rustls::{CertificateError, Error};
        match self {
            HostFailure::Connect(error) => match error.tls_error()? {
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    Some("name the registry's authority as `ca` in its hosts.toml".to_owned())
                }
                Error::InvalidMessage(_) => {
                    Some("if the registry speaks plain http, say http:// in its hosts.toml".to_owned())
                }
                _ => None,
            },
            HostFailure::Denied { .. } => Some("check the pull secret, and that the image's name is right".to_owned()),
            HostFailure::Token { source, .. } => source.hint(),
            HostFailure::Status { status, .. } if *status == StatusCode::NOT_FOUND => {
                Some("check the image's name and tag".to_owned())
            }
            HostFailure::Status { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
                Some("the registry limits its users: pull with credentials, through a mirror, or later".to_owned())
            }
            HostFailure::SchemaOne => Some("push the image again with a client of this decade".to_owned()),
            _ => None,
        }
    }
}

/// What a registry said about its refusal; made fit for one line of a log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    /// Reads an error document, or any text that is not a page for people.
    pub(crate) fn read(body: &[u8]) -> Self {
        let is_page = body.trim_ascii_start().starts_with(b"<");
        match document(body) {
            Some(text) => Said::on_one_line(&text),
            None if is_page => Said::default(),
            None => Said::on_one_line(&String::from_utf8_lossy(body)),
        }
    }

    /// Reads an error document, and nothing else.
    pub(crate) fn read_document(body: &[u8]) -> Self {
        Said::on_one_line(&document(body).unwrap_or_default())
    }

    fn on_one_line(text: &str) -> Self {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Said(line.chars().filter(|c| !c.is_control()).take(limits::SAID_MAX_CHARS).collect())
    }
}

/// The text of an error document of the distribution specification (Error Codes) or of a token server.
fn document(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(default)]
        errors: Vec<Entry>,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        details: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let document: Document = serde_json::from_slice(body).ok()?;
    let entries = document.errors.iter().map(|entry| format!("{} {}", entry.code, entry.message));
    Some(entries.chain(document.message).chain(document.details).collect::<Vec<_>>().join("; "))
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

/// A host that was asked and why that did not help.
#[derive(Debug)]
pub struct Tried {
    pub host: Origin,
    pub why: HostFailure,
}

/// All hosts that were asked, in order.
#[derive(Debug)]
pub struct AllTried(pub Vec<Tried>);

impl fmt::Display for AllTried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Tried { host, why }) in self.0.iter().enumerate() {
            write!(f, "{}{host}: {}", if at == 0 { "" } else { "; " }, Chain(why))?;
        }
        Ok(())
    }
}

impl AllTried {
    /// The failure that tells most: an answer of a registry outranks the silence of another, and a refusal, behind which
    /// the image may well be, outranks its absence elsewhere.
    fn telling(&self) -> Option<&HostFailure> {
        let rank = |class: Class| match class {
            Class::Invalid => 5,
            Class::Denied => 4,
            Class::NotFound => 3,
            Class::Corrupt => 2,
            Class::Deadline => 1,
            _ => 0,
        };
        self.0.iter().map(|tried| &tried.why).rev().max_by_key(|why| rank(why.class()))
    }

    pub(crate) fn class(&self) -> Class {
        self.telling().map_or(Class::Unavailable, HostFailure::class)
    }

    pub(crate) fn hint(&self) -> Option<String> {
        self.telling()?.hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, retry_after: Option<Duration>) -> HostFailure {
        HostFailure::Status { status: StatusCode::from_u16(code).unwrap(), said: Said::default(), retry_after }
    }

    #[test]
    fn only_what_may_pass_by_itself_is_repeated() {
        let after = Duration::from_secs(7);
        for (failure, again) in [
            (status(404, None), Again::Never),
            (status(400, Some(after)), Again::Never),
            (status(429, None), Again::Later),
            (status(429, Some(after)), Again::After(after)),
            (status(500, None), Again::Later),
            (status(501, None), Again::Never),
            (status(503, Some(after)), Again::After(after)),
            (HostFailure::Stalled(after), Again::Once),
            (HostFailure::NoAnswer(after), Again::Never),
            (HostFailure::Short { got: 1, expected: 2 }, Again::Later),
            (HostFailure::Length { said: 1, expected: 2 }, Again::Never),
        ] {
            assert_eq!(failure.again(), again, "{failure}");
        }
    }

    #[test]
    fn the_class_of_many_failures_is_that_of_the_most_telling() {
        let denied =
            || HostFailure::Denied { status: StatusCode::UNAUTHORIZED, said: Said::default(), sent: String::new() };
        let second = Duration::from_secs(1);
        for (failures, class) in [
            (vec![], Class::Unavailable),
            (vec![status(500, None), status(404, None)], Class::NotFound),
            (vec![status(404, None), denied()], Class::Denied),
            (vec![HostFailure::NoAnswer(second), status(500, None)], Class::Deadline),
            (vec![status(502, None)], Class::Unavailable),
        ] {
            let host = Url::parse("http://h").unwrap().origin;
            let tried = failures.into_iter().map(|why| Tried { host: host.clone(), why }).collect();
            assert_eq!(AllTried(tried).class(), class);
        }
    }

    #[test]
    fn what_a_registry_says_fits_on_one_line() {
        for (body, shown) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\nunknown","detail":{}}]}"#,
                " (MANIFEST_UNKNOWN manifest unknown)",
            ),
            (r#"{"details":"incorrect username or password"}"#, " (incorrect username or password)"),
            ("404 page not found\n", " (404 page not found)"),
            ("<html>", ""),
            ("", ""),
            ("{\"errors\":null}", " ({\"errors\":null})"),
            ("\u{1b}[31mred", " ([31mred)"),
        ] {
            assert_eq!(Said::read(body.as_bytes()).to_string(), shown, "{body}");
        }
        assert_eq!(Said::read_document(b"password=hunter2"), Said::default());
        assert!(Said::read("x".repeat(10_000).as_bytes()).to_string().len() < 300);
    }
}
