//! URLs that wait for their client: each is good once, and for a short time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cradle_domain::{Class, Failure};
use tokio::time::Instant;

use crate::limits::{TOKEN_BYTES, TOKEN_LIFE, TOKENS_MAX};
use crate::request::Request;

#[derive(Default)]
pub(crate) struct Tokens {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    requests: HashMap<String, Asked>,
    /// When each token becomes worthless, the soonest first; used ones are in here until then.
    ends: VecDeque<(Instant, String)>,
}

/// A request with the id that it has in the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub request: Request,
    pub request_id: String,
}

impl Tokens {
    /// A new token for a request.
    ///
    /// # Errors
    /// Too many are waiting, or the kernel gives no random bytes.
    pub fn insert(&self, asked: Asked, now: Instant) -> Result<String, Failure> {
        let random = cradle_sys::random::bytes::<TOKEN_BYTES>();
        let random = random.map_err(|errno| Failure::new(Class::Bug, format!("drawing random bytes: {errno}")))?;
        let token = URL_SAFE_NO_PAD.encode(random);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.forget_old(now);
        if waiting.requests.len() >= TOKENS_MAX {
            let failure = Failure::new(Class::Exhausted, format!("{TOKENS_MAX} streaming URLs wait for their clients"));
            return Err(failure.with_hint(format!("each waits for at most {} s", TOKEN_LIFE.as_secs())));
        }
        waiting.ends.push_back((now + TOKEN_LIFE, token.clone()));
        waiting.requests.insert(token.clone(), asked);
        Ok(token)
    }

    /// The request of a token, once.
    pub fn take(&self, token: &str, now: Instant) -> Option<Asked> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.forget_old(now);
        waiting.requests.remove(token)
    }
}

impl Waiting {
    fn forget_old(&mut self, now: Instant) {
        while let Some((_, token)) = self.ends.pop_front_if(|(end, _)| *end <= now) {
            self.requests.remove(&token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pod: &str) -> Asked {
        let request = Request::PortForward { pod: pod.to_owned(), ports: Vec::new() };
        Asked { request, request_id: "-".to_owned() }
    }

    #[test]
    fn a_token_is_good_once_and_for_its_time() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let first = tokens.insert(asked("a"), now).unwrap();
        let second = tokens.insert(asked("b"), now).unwrap();
        assert_ne!(first, second);
        assert!(first.len() * 6 >= 128, "{first}");
        assert_eq!(tokens.take(&first, now), Some(asked("a")));
        assert_eq!(tokens.take(&first, now), None);
        assert_eq!(tokens.take("", now), None);
        assert_eq!(tokens.take(&second, now + TOKEN_LIFE), None);
    }

    #[test]
    fn no_more_wait_than_so_many_and_old_ones_make_room() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        for _ in 0..TOKENS_MAX {
            tokens.insert(asked("a"), now).unwrap();
        }
        assert_eq!(tokens.insert(asked("a"), now).unwrap_err().class(), Class::Exhausted);
        tokens.insert(asked("a"), now + TOKEN_LIFE).unwrap();
    }

    #[test]
    fn used_tokens_are_forgotten_in_the_end() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        for _ in 0..3 * TOKENS_MAX {
            let token = tokens.insert(asked("a"), now).unwrap();
            tokens.take(&token, now);
        }
        tokens.take("", now + TOKEN_LIFE);
        assert_eq!(tokens.waiting.lock().unwrap().ends.len(), 0);
    }
}
