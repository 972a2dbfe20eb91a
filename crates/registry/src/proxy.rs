//! HTTP proxies: from the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, as curl and Go read them) or from a host's
//! `proxy` in `hosts.toml`.
//!
//! A proxy sees the requests to plain HTTP hosts; to a host with TLS it only makes a tunnel.

use cradle_domain::{Class, Classified};
use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::hosts::is_loopback;
use crate::origin::{Authority, Origin};

/// A proxy that speaks plain HTTP.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    pub(crate) authority: Authority,
    pub(crate) authorization: Option<HeaderValue>,
}

/// A proxy that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name} does not name a usable proxy: {why}")]
pub struct BadProxy {
    name: String,
    why: String,
}

impl Classified for BadProxy {
    fn class(&self) -> Class {
        Class::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("correct or unset the variable in the daemon's environment".into())
    }
}

impl Proxy {
    /// Reads `http://[user:password@]host:port`.
    pub fn parse(text: &str) -> Result<Self, BadProxy> {
        let bad = |why: String| BadProxy { name: "the value".to_owned(), why };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(bad(format!("{scheme} proxies are not supported, only http ones")));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, authority) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        let authority = Authority::parse(authority, 80).map_err(|error| bad(error.to_string()))?;
        let authorization = user.map(|user| basic(&percent_decoded(user)));
        Ok(Proxy { authority, authorization })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Which proxy is used for what.
#[derive(Debug, Clone, Default)]
pub struct ProxySettings {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exempt: Vec<Exemption>,
}

impl ProxySettings {
    /// Reads the variables of this process; the lowercase name wins, as it does for curl.
    pub fn from_environment() -> Result<Self, BadProxy> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadProxy> {
        let either = |upper: &str| {
            let lower = upper.to_ascii_lowercase();
            let found = variable(&lower).map(|value| (lower, value));
            found
                .or_else(|| variable(upper).map(|value| (upper.to_owned(), value)))
                .filter(|(_, value)| !value.is_empty())
        };
        let proxy = |upper: &str| {
            let Some((name, value)) = either(upper) else { return Ok(None) };
            Proxy::parse(&value).map(Some).map_err(|error| BadProxy { name: format!("the variable {name}"), ..error })
        };
        let exempt = either("NO_PROXY").map(|(_, value)| value.split(',').filter_map(Exemption::parse).collect());
        Ok(ProxySettings {
            http: proxy("HTTP_PROXY")?,
            https: proxy("HTTPS_PROXY")?,
            exempt: exempt.unwrap_or_default(),
        })
    }

    /// The proxy on the way to `origin`; never one for this machine.
    pub(crate) fn on_the_way_to(&self, origin: &Origin) -> Option<&Proxy> {
        let (proxy, authority) = match origin {
            Origin::Http(authority) => (self.http.as_ref()?, authority),
            Origin::Https(authority) => (self.https.as_ref()?, authority),
            Origin::Unix(_) => return None,
        };
        let exempt = is_loopback(&authority.host) || self.exempt.iter().any(|exemption| exemption.covers(authority));
        (!exempt).then_some(proxy)
    }
}

/// An entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exemption {
    Everything,
    Network {
        address: IpAddr,
        prefix: u8,
    },
    /// `example.com` covers itself and what is beneath it, `.example.com` only the latter.
    Domain {
        name: String,
        only_beneath: bool,
        port: Option<u16>,
    },
}

impl Exemption {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Exemption::Everything);
        }
        if let Some((address, prefix)) = entry.split_once('/') {
            return Some(Exemption::Network { address: address.parse().ok()?, prefix: prefix.parse().ok()? });
        }
        if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Exemption::Network { address, prefix: if address.is_ipv4() { 32 } else { 128 } });
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name.trim_matches(['[', ']']), Some(port.parse().ok()?)),
            None => (entry.as_str(), None),
        };
        let name = name.strip_prefix('*').unwrap_or(name);
        let (name, only_beneath) = name.strip_prefix('.').map_or((name, false), |name| (name, true));
        (!name.is_empty()).then(|| Exemption::Domain { name: name.to_owned(), only_beneath, port })
    }

    fn covers(&self, authority: &Authority) -> bool {
        match self {
            Exemption::Everything => true,
            Exemption::Network { address, prefix } => {
                authority.host.parse().is_ok_and(|host: IpAddr| same_network(host, *address, *prefix))
            }
            Exemption::Domain { name, only_beneath, port } => {
                let beneath = authority.host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                port.is_none_or(|port| port == authority.port)
                    && (beneath || (!only_beneath && authority.host == *name))
            }
        }
    }
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let (a, b, bits) = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    // A shift by all 128 bits would be none at all.
    prefix <= bits && (a ^ b).checked_shr(u32::from(bits - prefix)).unwrap_or(0) == 0
}

/// The value of an `Authorization` header for `user:password`.
pub(crate) fn basic(user_and_password: &str) -> HeaderValue {
    let text = format!("Basic {}", STANDARD.encode(user_and_password));
    // Base64 has only characters that a header may have.
    let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Url;

    fn settings(variables: &[(&str, &str)]) -> Result<ProxySettings, BadProxy> {
        ProxySettings::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variables_choose_a_proxy_by_scheme_and_exempt_hosts() {
        let settings = settings(&[
            ("HTTP_PROXY", "http://plain:3128"),
            ("https_proxy", "tunnel:8080"),
            ("HTTPS_PROXY", "http://loses:1"),
            (
                "no_proxy",
                "in.example, .beneath.example,10.0.0.0/8,192.168.1.1,fd00::/8,port.example:5000,*.star.example",
            ),
        ])
        .unwrap();
        for (url, proxy) in [
            ("http://r.example", Some("http://plain:3128")),
            ("https://r.example", Some("http://tunnel:8080")),
            ("https://in.example", None),
            ("https://a.in.example", None),
            ("https://notin.example", Some("http://tunnel:8080")),
            ("https://beneath.example", Some("http://tunnel:8080")),
            ("https://a.beneath.example", None),
            ("https://a.star.example", None),
            ("https://10.1.2.3:5000", None),
            ("https://11.1.2.3", Some("http://tunnel:8080")),
            ("http://192.168.1.1", None),
            ("http://[fd12::1]:80", None),
            ("https://port.example:5000", None),
            ("https://port.example", Some("http://tunnel:8080")),
            ("http://127.0.0.1:5000", None),
            ("http://localhost:5000", None),
            ("unix:///run/m.sock", None),
        ] {
            let found = settings.on_the_way_to(&Url::parse(url).unwrap().origin).map(ToString::to_string);
            assert_eq!(found.as_deref(), proxy, "{url}");
        }
    }

    #[test]
    fn a_star_exempts_everything_and_nothing_set_means_no_proxy() {
        let origin = Url::parse("https://r.example").unwrap().origin;
        let all = settings(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "*")]).unwrap();
        assert_eq!(all.on_the_way_to(&origin), None);
        assert_eq!(settings(&[("HTTPS_PROXY", "")]).unwrap().on_the_way_to(&origin), None);
    }

    #[test]
    fn credentials_of_a_proxy_are_sent_and_not_shown() {
        let proxy = Proxy::parse("http://user:p%40ss@proxy:3128/").unwrap();
        assert_eq!(proxy.authorization.as_ref().unwrap(), &format!("Basic {}", STANDARD.encode("user:p@ss")));
        assert_eq!(format!("{proxy} {proxy:?}"), "http://proxy:3128 Proxy(http://proxy:3128)");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_by_its_variable() {
        let error = settings(&[("HTTPS_PROXY", "socks5://p:1080")]).unwrap_err().to_string();
        assert!(error.contains("HTTPS_PROXY") && error.contains("socks5"), "{error}");
    }
}
