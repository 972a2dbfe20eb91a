//! Where a request goes: an origin (scheme, host and port, or a unix socket) and what is asked of it.
//!
//! Credentials, headers of `hosts.toml` and client certificates belong to one origin and never leave it.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use http::uri::PathAndQuery;

/// The peer of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    Http(Authority),
    Https(Authority),
    /// Plain HTTP over a unix socket of this machine.
    Unix(PathBuf),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// A lowercase name or an address; IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

/// An origin and a path with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub origin: Origin,
    pub target: PathAndQuery,
}

/// Text that is not a URL as this crate needs it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a usable URL: {why}")]
pub struct BadUrl {
    text: String,
    why: &'static str,
}

impl BadUrl {
    fn new(text: &str, why: &'static str) -> Self {
        BadUrl { text: text.chars().take(200).collect(), why }
    }
}

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

impl Origin {
    /// Whether what is sent is encrypted.
    pub fn is_secure(&self) -> bool {
        matches!(self, Origin::Https(_))
    }

    /// Host and port, the port left out where it is the scheme's own: the `Host` header and the name that configuration
    /// files use.
    pub fn authority(&self) -> String {
        match self {
            Origin::Http(authority) => authority.without_port(HTTP_PORT),
            Origin::Https(authority) => authority.without_port(HTTPS_PORT),
            Origin::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Http(_) => write!(f, "http://{}", self.authority()),
            Origin::Https(_) => write!(f, "https://{}", self.authority()),
            Origin::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl Authority {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, BadUrl> {
        let bad = |why| BadUrl::new(text, why);
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or_else(|| bad("a '[' without its ']'"))?;
                address.parse::<Ipv6Addr>().map_err(|_| bad("what stands in brackets is not an IPv6 address"))?;
                let port = match after.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if after.is_empty() => None,
                    None => return Err(bad("something other than a port follows the ']'")),
                };
                (address, port)
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let usable = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(usable) {
            return Err(bad("the host is missing or has characters that no host name has"));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad("the port is not a number from 0 to 65535"))?,
            None => default_port,
        };
        Ok(Authority { host: host.to_ascii_lowercase(), port })
    }

    fn without_port(&self, default: u16) -> String {
        if self.port == default { self.bracketed() } else { self.to_string() }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bracketed(), self.port)
    }
}

impl Url {
    /// Reads an `http`, `https` or `unix` URL. User names and passwords in it are refused, so that they cannot end up in a
    /// log; a fragment is dropped.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad = |why| BadUrl::new(text, why);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        if scheme == "unix" {
            if !rest.starts_with('/') || rest.contains('\0') {
                return Err(bad("the path of a socket must be absolute, as in unix:///run/mirror.sock"));
            }
            return Ok(Url { origin: Origin::Unix(PathBuf::from(rest)), target: PathAndQuery::from_static("/") });
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(bad("it holds a user name or password"));
        }
        let origin = match scheme.to_ascii_lowercase().as_str() {
            "http" => Origin::Http(Authority::parse(authority, HTTP_PORT)?),
            "https" => Origin::Https(Authority::parse(authority, HTTPS_PORT)?),
            _ => return Err(bad("its scheme is neither http nor https nor unix")),
        };
        Ok(Url {
            origin,
            target: target_of(target).ok_or_else(|| bad("its path has characters that must be escaped"))?,
        })
    }

    /// Where a `Location` header leads that came from here (RFC 9110, section 10.2.2; without dot segments).
    pub fn join(&self, location: &str) -> Result<Url, BadUrl> {
        let bad = || BadUrl::new(location, "its path has characters that must be escaped");
        let location = location.split_once('#').map_or(location, |(before, _)| before);
        let scheme_end = location.find("://").filter(|at| !location[..*at].contains(['/', '?']));
        if scheme_end.is_some() {
            let url = Url::parse(location)?;
            return match url.origin {
                Origin::Unix(_) => Err(BadUrl::new(location, "a registry may not lead to a socket of this machine")),
                _ => Ok(url),
            };
        }
        if let Some(rest) = location.strip_prefix("//") {
            let scheme = if self.origin.is_secure() { "https" } else { "http" };
            return Url::parse(&format!("{scheme}://{rest}"));
        }
        let path = self.target.path();
        let target = if location.starts_with('/') {
            target_of(location)
        } else if location.starts_with('?') {
            target_of(&format!("{path}{location}"))
        } else {
            let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            target_of(&format!("{folder}{location}"))
        };
        Ok(Url { origin: self.origin.clone(), target: target.ok_or_else(bad)? })
    }

    /// The same URL with a name and a value added to its query.
    pub fn with_query(&self, name: &str, value: &str) -> Result<Url, BadUrl> {
        let joint = if self.target.query().is_some() { '&' } else { '?' };
        let text = format!("{}{joint}{name}={}", self.target, percent_encoded(value));
        let target =
            target_of(&text).ok_or_else(|| BadUrl::new(&text, "its query has characters that must be escaped"))?;
        Ok(Url { origin: self.origin.clone(), target })
    }
}

/// Without the query: it may hold the signature of a storage service.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.target.path())
    }
}

fn target_of(text: &str) -> Option<PathAndQuery> {
    match text {
        "" => Some(PathAndQuery::from_static("/")),
        _ if text.starts_with('?') => format!("/{text}").parse().ok(),
        _ => text.parse().ok(),
    }
}

/// `text` as a value in a query or in a form (RFC 3986, section 2.3; `:` and `/` are left for the reader of logs).
pub fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                encoded.push(byte.into())
            }
            _ => {
                encoded.push('%');
                encoded.push_str(&cradle_domain::id::hex(&[byte]).to_ascii_uppercase());
            }
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_ports_and_addresses() {
        for (text, shown, target) in [
            ("https://registry.example.com", "https://registry.example.com", "/"),
            ("http://Mirror:5000/a/b?x=1#y", "http://mirror:5000", "/a/b?x=1"),
            ("https://[::1]:443/v2", "https://[::1]", "/v2"),
            ("http://[fd00::7]:5000", "http://[fd00::7]:5000", "/"),
            ("https://h?x=y", "https://h", "/?x=y"),
            ("unix:///run/mirror.sock", "unix:///run/mirror.sock", "/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.origin.to_string(), shown);
            assert_eq!(url.target.as_str(), target);
        }
    }

    #[test]
    fn what_is_no_url_of_a_registry_is_refused() {
        for bad in [
            "",
            "registry",
            "ftp://h/",
            "https://",
            "https://user:secret@h/",
            "https://h:99999/",
            "https://[::1/",
            "unix://x",
            "https://h/a b",
            "https://h\r\nx/",
            "https://[fe80]/",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_location_leads_on_from_where_it_came() {
        let from = Url::parse("https://h:5000/v2/a/blobs/x?ns=b").unwrap();
        for (location, expected) in [
            ("https://cdn.example/x?sig=a://b", "https://cdn.example/x?sig=a://b"),
            ("http://h:5000/x", "http://h:5000/x"),
            ("//other/x", "https://other/x"),
            ("/x?to=http://y", "https://h:5000/x?to=http://y"),
            ("?a=b", "https://h:5000/v2/a/blobs/x?a=b"),
            ("y", "https://h:5000/v2/a/blobs/y"),
        ] {
            let url = from.join(location).unwrap();
            assert_eq!(format!("{}{}", url.origin, url.target), expected, "{location}");
        }
        assert!(from.join("unix:///run/docker.sock").is_err());
        assert!(from.join("gopher://h/").is_err());
    }

    #[test]
    fn a_url_is_shown_without_its_query() {
        assert_eq!(Url::parse("https://s3/x?signature=secret").unwrap().to_string(), "https://s3/x");
    }
}
