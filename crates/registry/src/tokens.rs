//! Proofs of identity: the value of an `Authorization` header that a host accepts for one repository.
//!
//! A host that wants one says so with 401 and a challenge. For `Basic` the proof is the password itself; for `Bearer` it is
//! a token that another server gives for a password, an identity token or for nothing (distribution token specification;
//! with identity tokens, OAuth2 as docker does it). Proofs are kept until they expire, and used before a challenge comes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;

use crate::ask::{blank_request, failure_of};
use crate::challenge::Challenge;
use crate::client::Core;
use crate::credentials::Secret;
use crate::endpoint::{Endpoint, Identity};
use crate::failure::HostFailure;
use crate::limits;
use crate::origin::{Origin, Url, percent_encoded};
use crate::pool::no_body;
use crate::proxy::basic;

/// The name under which token servers know this client.
const CLIENT_ID: &str = "cradle";

/// Proofs that were accepted or freshly given.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    kept: Mutex<HashMap<Key, Proof>>,
}

/// A proof is good for one host, one repository and one identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    origin: Origin,
    scope: String,
    fingerprint: [u8; 32],
}

#[derive(Debug)]
struct Proof {
    value: HeaderValue,
    until: Instant,
}

impl Key {
    fn of(endpoint: &Endpoint) -> Self {
        let fingerprint = endpoint.fingerprint();
        Key { origin: endpoint.host.origin.clone(), scope: endpoint.scope(), fingerprint }
    }
}

impl Tokens {
    pub(crate) fn kept(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&Key::of(endpoint)).filter(|proof| proof.until > Instant::now()).map(|proof| proof.value.clone())
    }

    pub(crate) fn forget(&self, endpoint: &Endpoint) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&Key::of(endpoint));
    }

    fn keep(&self, endpoint: &Endpoint, value: &HeaderValue, life: Duration) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if kept.len() >= limits::TOKENS_MAX {
            kept.retain(|_, proof| proof.until > now);
        }
        if kept.len() >= limits::TOKENS_MAX {
            kept.clear();
        }
        let life = life.min(limits::TOKEN_MAX_LIFE).saturating_sub(limits::TOKEN_MARGIN);
        kept.insert(Key::of(endpoint), Proof { value: value.clone(), until: now + life });
    }
}

/// What a token server answers.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    /// Seconds; what is no such number does not make the token a bad one.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl Core {
    /// Answers a challenge; none if there is nothing that would.
    pub(crate) async fn prove(
        &self,
        endpoint: &Endpoint,
        challenges: &[Challenge],
    ) -> Result<Option<HeaderValue>, HostFailure> {
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, scope } => Some((realm, service.as_deref(), scope.as_deref())),
            _ => None,
        });
        if let Some((realm, service, scope)) = bearer {
            let realm =
                Url::parse(realm).map_err(|error| HostFailure::Scheme { offered: format!("Bearer, where {error}") })?;
            let scope = scope.map_or_else(|| endpoint.scope(), str::to_owned);
            let token = self.token(endpoint, &realm, service, &scope).await;
            let (value, life) = token.map_err(|source| HostFailure::Token { realm, source: Box::new(source) })?;
            self.tokens.keep(endpoint, &value, life);
            return Ok(Some(value));
        }
        match &endpoint.identity {
            Identity::Known { secret: Secret::Password { user_and_password }, .. }
                if challenges.contains(&Challenge::Basic) =>
            {
                let value = basic(user_and_password);
                self.tokens.keep(endpoint, &value, limits::TOKEN_MAX_LIFE);
                Ok(Some(value))
            }
            _ => match challenges.iter().find(|challenge| !matches!(challenge, Challenge::Basic)) {
                Some(Challenge::Other(offered)) => Err(HostFailure::Scheme { offered: offered.clone() }),
                _ => Ok(None),
            },
        }
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        realm: &Url,
        service: Option<&str>,
        scope: &str,
    ) -> Result<(HeaderValue, Duration), HostFailure> {
        if matches!(realm.origin, Origin::Unix(_)) || (endpoint.host.origin.is_secure() && !realm.origin.is_secure()) {
            return Err(HostFailure::InsecureRealm { realm: realm.clone() });
        }
        let mut fields = vec![("scope", scope)];
        fields.extend(service.map(|service| ("service", service)));
        let mut authorization = None;
        let (method, url, body) = match &endpoint.identity {
            Identity::Known { secret: Secret::IdentityToken(token), .. } => {
                let own =
                    [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", token.as_str())];
                let form: Vec<_> = fields.iter().chain(&own).map(|(name, value)| pair(name, value)).collect();
                (Method::POST, realm.clone(), Full::from(form.join("&")))
            }
            identity => {
                if let Identity::Known { secret: Secret::Password { user_and_password }, .. } = identity {
                    authorization = Some(basic(user_and_password));
                }
                let url = fields.iter().try_fold(realm.clone(), |url, (name, value)| url.with_query(name, value));
                (Method::GET, url.map_err(HostFailure::Request)?, no_body())
            }
        };
        let route = endpoint.route(&url.origin, &self.tls, &self.config.proxy).await?;
        let mut request = blank_request(method.clone(), &url, &route, body);
        let headers = request.headers_mut();
        if method == Method::POST {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        // A redirect is not followed: the password or token that is sent is for this server.
        let response = self.pool.request(&route, request, self.config.answer_timeout).await?;
        if response.head.status != StatusCode::OK {
            return Err(failure_of(endpoint, response, &url.origin).await);
        }
        let body = response.body.whole(limits::TOKEN_ANSWER_MAX_BYTES, limits::SMALL_BODY_TIMEOUT).await?;
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| HostFailure::NoToken)?;
        let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
        let value = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let mut value = value.ok_or(HostFailure::NoToken)?;
        value.set_sensitive(true);
        Ok((value, answer.expires_in.as_u64().map_or(limits::TOKEN_DEFAULT_LIFE, Duration::from_secs)))
    }
}

fn pair(name: &str, value: &str) -> String {
    format!("{name}={}", percent_encoded(value))
}
