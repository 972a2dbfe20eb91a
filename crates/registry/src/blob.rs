//! A blob as it comes: resumed where it broke, from another host if need be, and of exactly the size that was asked for.
//!
//! A failed transfer is repeated from the byte where it stopped. Failures count until the transfer has brought
//! [`limits::RESUME_MIN_BYTES`] more; then they are forgotten. So a connection that breaks often costs time, one that brings
//! nothing ends the transfer, and the number of requests is bounded by the size.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cradle_domain::{Class, Classified, Digest};
use http::{HeaderMap, Method, StatusCode, header};
use tokio::time::timeout;

use crate::ask::Ask;
use crate::client::{Core, Source};
use crate::failure::{AllTried, HostFailure, Tried};
use crate::limits;
use crate::origin::Origin;
use crate::pool::{Response, ResponseBody};
use crate::retry::Retries;

/// A manifest or blob that was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("no host served the {what} {digest}: {tried}")]
    Failed { what: &'static str, digest: Digest, tried: AllTried },
    #[error("{host} served a wrong blob for {digest}")]
    Wrong { digest: Digest, host: Origin, source: Box<HostFailure> },
}

impl Classified for FetchError {
    fn class(&self) -> Class {
        match self {
            FetchError::Failed { tried, .. } => tried.class(),
            FetchError::Wrong { source, .. } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            FetchError::Failed { tried, .. } => tried.hint(),
            FetchError::Wrong { .. } => None,
        }
    }
}

/// The bytes of a blob, in order, as they come from a host.
#[derive(Debug)]
pub struct BlobStream {
    core: Arc<Core>,
    source: Source,
    digest: Digest,
    size: u64,
    /// How many bytes the caller has.
    offset: u64,
    /// How many there were when failures were last forgotten.
    forgiven_at: u64,
    /// The hosts still to be asked; the first is the present one.
    hosts: VecDeque<usize>,
    /// The hosts that the caller has bytes of.
    served: Vec<usize>,
    transfer: Option<Transfer>,
    retries: Retries,
    tried: AllTried,
}

/// A response that brings the blob's bytes.
#[derive(Debug)]
struct Transfer {
    body: ResponseBody,
    /// Bytes that the caller has already: the host does not know ranges and began at the start.
    skip: u64,
    progress: Progress,
}

/// Whether enough comes in time: the time spent waiting for the bytes of the present window.
#[derive(Debug)]
struct Progress {
    limit: Duration,
    waited: Duration,
    bytes: u64,
}

impl Progress {
    fn new(limit: Duration) -> Self {
        Progress { limit, waited: Duration::ZERO, bytes: 0 }
    }

    fn arrived(&mut self, bytes: usize, waited: Duration) {
        self.bytes += bytes as u64;
        self.waited += waited;
        if self.bytes >= limits::PROGRESS_MIN_BYTES {
            *self = Progress::new(self.limit);
        }
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.waited)
    }
}

impl Transfer {
    /// The next bytes that the caller does not have yet.
    async fn chunk(&mut self) -> Result<Option<Bytes>, HostFailure> {
        loop {
            let begun = Instant::now();
            let next = timeout(self.progress.left(), self.body.chunk()).await;
            let next = next.map_err(|_| HostFailure::Stalled(self.progress.limit))?;
            let Some(mut bytes) = next.map_err(HostFailure::Broken)? else { return Ok(None) };
            self.progress.arrived(bytes.len(), begun.elapsed());
            let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= known as u64;
            let new = bytes.split_off(known);
            if !new.is_empty() {
                return Ok(Some(new));
            }
        }
    }
}

impl BlobStream {
    pub(crate) async fn begin(core: Arc<Core>, source: Source, digest: Digest, size: u64) -> Result<Self, FetchError> {
        let mut stream = BlobStream {
            hosts: source.order.iter().copied().collect(),
            retries: core.retries(),
            core,
            source,
            digest,
            size,
            offset: 0,
            forgiven_at: 0,
            served: Vec::new(),
            transfer: None,
            tried: AllTried(Vec::new()),
        };
        stream.open().await?;
        Ok(stream)
    }

    /// The next bytes; none at the end, when exactly the blob's size has come. May be dropped while it waits, and called
    /// again.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if self.offset == self.size {
                return self.end().await.map(|()| None);
            }
            let Some(transfer) = &mut self.transfer else {
                self.open().await?;
                continue;
            };
            let failure = match transfer.chunk().await {
                Ok(Some(bytes)) => return self.hand_over(bytes).map(Some),
                Ok(None) => HostFailure::Short { got: self.offset, expected: self.size },
                Err(failure) => failure,
            };
            self.failed(failure).await?;
        }
    }

    /// The host that serves at the moment.
    pub fn host(&self) -> Option<&Origin> {
        self.hosts.front().map(|at| self.origin(*at))
    }

    /// The same source without the hosts that bytes of this stream came from: for when they turn out to be the wrong ones.
    pub fn other_source(&self) -> Option<Source> {
        let order: Vec<usize> = self.source.order.iter().copied().filter(|at| !self.served.contains(at)).collect();
        (!order.is_empty()).then(|| Source { endpoints: self.source.endpoints.clone(), order })
    }

    fn origin(&self, at: usize) -> &Origin {
        &self.source.endpoints[at].host.origin
    }

    fn hand_over(&mut self, bytes: Bytes) -> Result<Bytes, FetchError> {
        if let Some(at) = self.hosts.front()
            && !self.served.contains(at)
        {
            self.served.push(*at);
        }
        let offset = self.offset + bytes.len() as u64;
        if offset > self.size {
            return Err(self.too_long());
        }
        self.offset = offset;
        if self.offset - self.forgiven_at >= limits::RESUME_MIN_BYTES {
            self.forgiven_at = self.offset;
            self.retries.progressed();
        }
        Ok(bytes)
    }

    /// Looks whether the host is done as well. One that breaks off or says nothing more has sent what was wanted.
    async fn end(&mut self) -> Result<(), FetchError> {
        let Some(mut transfer) = self.transfer.take() else { return Ok(()) };
        match timeout(limits::SURPLUS_TIMEOUT, transfer.chunk()).await {
            Ok(Ok(Some(_))) => Err(self.too_long()),
            _ => Ok(()),
        }
    }

    fn too_long(&mut self) -> FetchError {
        self.transfer = None;
        let source = Box::new(HostFailure::TooLong { expected: self.size });
        match self.host() {
            Some(host) => FetchError::Wrong { digest: self.digest.clone(), host: host.clone(), source },
            None => self.nobody(),
        }
    }

    /// Makes a transfer that begins at `offset`, of the first host that serves.
    async fn open(&mut self) -> Result<(), FetchError> {
        loop {
            let Some(at) = self.hosts.front() else { return Err(self.nobody()) };
            let endpoint = &self.source.endpoints[*at];
            let answer_within = self.core.config.progress_timeout;
            let (offset, name) = (self.offset, self.digest.as_str());
            let ask = Ask { method: Method::GET, kind: "blobs", name, accept: None, offset, answer_within };
            let answer = self.core.ask(endpoint, &ask).await;
            match answer.and_then(|response| self.transfer_of(response)) {
                Ok(transfer) => {
                    self.transfer = Some(transfer);
                    return Ok(());
                }
                Err(failure) => self.failed(failure).await?,
            }
        }
    }

    fn transfer_of(&self, response: Response) -> Result<Transfer, HostFailure> {
        let begins_at = match response.head.status {
            StatusCode::PARTIAL_CONTENT => {
                check_range(&response.head.headers, self.offset, self.size)?;
                self.offset
            }
            _ => 0,
        };
        if let Some(length) = number(&response.head.headers, header::CONTENT_LENGTH)
            && begins_at.saturating_add(length) != self.size
        {
            return Err(HostFailure::Length { said: begins_at.saturating_add(length), expected: self.size });
        }
        let progress = Progress::new(self.core.config.progress_timeout);
        Ok(Transfer { body: response.body, skip: self.offset - begins_at, progress })
    }

    /// Counts a failure of the present host: waits, so that it can be asked again, or goes on to the next.
    async fn failed(&mut self, failure: HostFailure) -> Result<(), FetchError> {
        self.transfer = None;
        let Some(at) = self.hosts.front().copied() else { return Err(self.nobody()) };
        let host = self.origin(at).clone();
        match self.retries.failed(failure.again()) {
            Some(pause) => {
                tracing::debug!(%host, digest = %self.digest, offset = self.offset, %failure, ?pause, "resuming");
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => {
                self.tried.0.push(Tried { host, why: failure });
                self.hosts.pop_front();
                self.retries = self.core.retries();
                self.forgiven_at = self.offset;
                if self.hosts.is_empty() { Err(self.nobody()) } else { Ok(()) }
            }
        }
    }

    fn nobody(&mut self) -> FetchError {
        let tried = AllTried(std::mem::take(&mut self.tried.0));
        FetchError::Failed { what: "blob", digest: self.digest.clone(), tried }
    }
}

/// Whether `Content-Range` is the part that was asked for (RFC 9110, section 14.4).
fn check_range(headers: &HeaderMap, offset: u64, size: u64) -> Result<(), HostFailure> {
    let text = headers.get(header::CONTENT_RANGE).map_or("", |value| value.to_str().unwrap_or("?"));
    let wrong = || HostFailure::Range(text.chars().take(limits::SAID_MAX_CHARS).collect());
    let (range, total) = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
    let (first, last) = range.split_once('-').ok_or_else(wrong)?;
    if first.parse() != Ok(offset) || last.parse::<u64>().ok().and_then(|last| last.checked_add(1)) != Some(size) {
        return Err(wrong());
    }
    match total.parse() {
        Ok(said) if said != size => Err(HostFailure::Length { said, expected: size }),
        Err(_) if total != "*" => Err(wrong()),
        _ => Ok(()),
    }
}

fn number(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rest_of_the_blob_is_a_good_range() {
        for (text, good) in [
            ("bytes 10-99/100", true),
            ("bytes 10-99/*", true),
            ("bytes 0-99/100", false),
            ("bytes 10-98/100", false),
            ("bytes 10-99/101", false),
            ("bytes 10-18446744073709551615/100", false),
            ("bytes */100", false),
            ("items 10-99/100", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_RANGE, text.parse().unwrap())]);
            assert_eq!(check_range(&headers, 10, 100).is_ok(), good, "{text:?}");
        }
        assert!(check_range(&HeaderMap::new(), 10, 100).is_err());
    }

    #[test]
    fn a_drip_is_no_progress() {
        let mut progress = Progress::new(Duration::from_secs(10));
        for _ in 0..10 {
            progress.arrived(1, Duration::from_secs(1));
        }
        assert_eq!(progress.left(), Duration::ZERO);
        progress.arrived(4096, Duration::from_secs(1));
        assert_eq!(progress.left(), Duration::from_secs(10));
    }
}
