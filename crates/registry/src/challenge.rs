//! Reads `WWW-Authenticate` (RFC 9110, section 11.6.1): which proof a registry wants of whoever asks.
//!
//! The text comes from the registry and may be anything; what makes no sense is skipped.

/// One way of authenticating that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    /// A token from the server at `realm` (distribution token specification).
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// A scheme that is not known here.
    Other(String),
}

/// Reads one header value, which may hold several challenges.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut parser = Parser { rest: header };
    let mut challenges = Vec::new();
    while let Some(scheme) = parser.scheme() {
        let parameters = parser.parameters();
        let value = |name: &str| {
            parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        challenges.push(match (scheme.to_ascii_lowercase().as_str(), value("realm")) {
            ("basic", _) => Challenge::Basic,
            ("bearer", Some(realm)) => Challenge::Bearer { realm, service: value("service"), scope: value("scope") },
            _ => Challenge::Other(scheme.to_owned()),
        });
    }
    challenges
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip(&mut self, of: &[char]) {
        self.rest = self.rest.trim_start_matches(of);
    }

    /// A token of RFC 9110, section 5.6.2.
    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        (!token.is_empty()).then(|| {
            self.rest = rest;
            token
        })
    }

    /// The next word that no `=` follows; whatever stands before it is passed over.
    fn scheme(&mut self) -> Option<&'a str> {
        loop {
            self.skip(&[' ', '\t', ',']);
            match self.token() {
                Some(scheme) => return Some(scheme),
                None => {
                    let mut characters = self.rest.chars();
                    characters.next()?;
                    self.rest = characters.as_str();
                }
            }
        }
    }

    /// `name=value` pairs up to the next scheme or the end.
    fn parameters(&mut self) -> Vec<(&'a str, String)> {
        let mut parameters = Vec::new();
        loop {
            self.skip(&[' ', '\t', ',']);
            let before = self.rest;
            let Some(name) = self.token() else { return parameters };
            self.skip(&[' ', '\t']);
            let Some(rest) = self.rest.strip_prefix('=') else {
                self.rest = before;
                return parameters;
            };
            self.rest = rest;
            self.skip(&[' ', '\t']);
            parameters.push((name, self.value()));
        }
    }

    fn value(&mut self) -> String {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            // Some registries leave the quotes out although the value needs them.
            let end = self.rest.find([',', ' ', '\t']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return value.to_owned();
        };
        let mut value = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next() {
                None | Some('"') => break,
                Some('\\') => value.extend(characters.next()),
                Some(other) => value.push(other),
            }
        }
        self.rest = characters.as_str();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: scope.map(Into::into) }
    }

    #[test]
    fn challenges_of_registries_are_read() {
        for (header, expected) in [
            ("Basic realm=\"Registry\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:library/nginx:pull\"",
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/nginx:pull"),
                )],
            ),
            ("Bearer realm=https://a/t, service=x", vec![bearer("https://a/t", Some("x"), None)]),
            (
                "Bearer Realm = \"https://a/t\" , scope=\"repository:a:pull,push\"",
                vec![bearer("https://a/t", None, Some("repository:a:pull,push"))],
            ),
            (
                "Negotiate, Basic realm=\"x\", Bearer realm=\"y\"",
                vec![Challenge::Other("Negotiate".into()), Challenge::Basic, bearer("y", None, None)],
            ),
            ("Bearer realm=\"a\\\"b\"", vec![bearer("a\"b", None, None)]),
            ("Bearer service=\"x\"", vec![Challenge::Other("Bearer".into())]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn nonsense_ends_and_does_not_panic() {
        for header in [
            "",
            ",,,",
            "=",
            "\"",
            "Bearer realm=\"",
            "Bearer realm=\"\\",
            "ä Basic ö=ü",
            "a=b=c, d",
            "Basic YWJj==",
            "{}",
        ] {
            let _ = parse(header);
        }
        assert_eq!(parse("ä Basic realm=x"), vec![Challenge::Basic]);
    }
}
