//! One request from its HTTP/2 headers to its answer: which service it is for, its id, its log line.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cradle_cri_api::cradle_v1::cradle_server::CradleServer;
use cradle_cri_api::v1::image_service_server::ImageServiceServer;
use cradle_cri_api::v1::runtime_service_server::RuntimeServiceServer;
use cradle_engine::request;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Code, Status};
use tracing::{Instrument, debug, error, info, info_span};

use crate::arrival::{Arrivals, Arriving, Held};
use crate::edge::Edge;
use crate::limits::{ARRIVES_WITHIN, MESSAGE_MAX_BYTES};

/// The one RPC whose client sends more than a message: an archive of any size.
const LOAD: &str = "/cradle.v1.Cradle/Load";

/// Both services of the CRI, and our own.
#[derive(Clone)]
pub struct CriService {
    runtime: RuntimeServiceServer<Edge>,
    image: ImageServiceServer<Edge>,
    cradle: CradleServer<Edge>,
    ids: Arc<RequestIds>,
    arrivals: Arc<Arrivals>,
}

impl CriService {
    pub fn new(edge: Edge) -> Self {
        CriService {
            runtime: RuntimeServiceServer::new(edge.clone())
                .max_decoding_message_size(MESSAGE_MAX_BYTES)
                .max_encoding_message_size(MESSAGE_MAX_BYTES),
            image: ImageServiceServer::new(edge.clone())
                .max_decoding_message_size(MESSAGE_MAX_BYTES)
                .max_encoding_message_size(MESSAGE_MAX_BYTES),
            cradle: CradleServer::new(edge),
            ids: Arc::new(RequestIds::new()),
            arrivals: Arc::default(),
        }
    }

    /// Answers one request. A failed one is logged here, once and nowhere else, unless it fails amid a stream: then who
    /// writes the stream logs it.
    pub async fn answer<B>(&self, request: http::Request<B>) -> http::Response<Body>
    where
        B: tonic::codegen::Body + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
        B::Data: Send,
    {
        let path = request.uri().path().to_owned();
        let mut parts = path.rsplit('/');
        let rpc = parts.next().unwrap_or_default();
        let service = parts.next().unwrap_or_default();
        let id = self.ids.next();
        let span = info_span!("rpc", name = rpc, request_id = %id);
        // Until the end of this function: the message is held as long as its request is worked on.
        let held = Held::new(&self.arrivals);
        let request = request.map(|body| match path.as_str() {
            LOAD => Arriving::piecewise(body),
            _ => Arriving::new(body, held.clone(), ARRIVES_WITHIN),
        });
        let answer = async {
            let watch = Watch::start();
            let response = match service {
                "runtime.v1.RuntimeService" => infallible(self.runtime.clone().call(request).await),
                "runtime.v1.ImageService" => infallible(self.image.clone().call(request).await),
                "cradle.v1.Cradle" => infallible(self.cradle.clone().call(request).await),
                _ => Status::unimplemented(format!("{path} is no RPC of the CRI v1")).into_http(),
            };
            watch.finish(Status::from_header_map(response.headers()));
            response
        };
        request::scope(id, answer.instrument(span)).await
    }
}

fn infallible<T>(result: Result<T, std::convert::Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// Follows a request to its end, also when that is the client's leaving.
struct Watch {
    since: Instant,
    finished: bool,
}

impl Watch {
    fn start() -> Self {
        Watch { since: Instant::now(), finished: false }
    }

    /// `status` is that of an answer without content; an answer with content succeeded.
    fn finish(mut self, status: Option<Status>) {
        self.finished = true;
        let duration = self.since.elapsed();
        match status.filter(|status| status.code() != Code::Ok) {
            None => debug!(duration_us = micros(duration), "done"),
            Some(status) => log_failure(&status, duration),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.finished {
            debug!(duration_us = micros(self.since.elapsed()), "the client left before the answer");
        }
    }
}

pub(crate) fn log_failure(status: &Status, duration: Duration) {
    let (code, reason, duration_us) = (status.code(), status.message(), micros(duration));
    match code {
        Code::Internal | Code::DataLoss | Code::Unknown => error!(?code, reason, duration_us, "failed"),
        Code::NotFound | Code::Unimplemented => debug!(?code, reason, duration_us, "failed"),
        _ => info!(?code, reason, duration_us, "failed"),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Numbers requests, with a prefix that differs between the daemon's lives, so that one log of many lives stays clear.
struct RequestIds {
    life: u32,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        // The keys of a `RandomState` are random; no more is asked of the prefix.
        let random = RandomState::new().hash_one(0_u8);
        RequestIds { life: u32::try_from(random >> 40).unwrap_or_default(), next: AtomicU64::new(1) }
    }

    fn next(&self) -> String {
        format!("{:06x}-{}", self.life, self.next.fetch_add(1, Ordering::Relaxed))
    }
}
