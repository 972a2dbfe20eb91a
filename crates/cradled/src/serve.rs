//! Accepts clients and speaks HTTP/2 with them, within bounds.
//!
//! This is hyper under the CRI's services, without tonic's own server: that one answers a request whose deadline has
//! passed with CANCELLED, where the client must see DEADLINE_EXCEEDED. Here the client's leaving ends the request.

use std::convert::Infallible;
use std::sync::Arc;

use cradle_cri::CriService;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::clients::{Answer, Clients, Place};
use crate::limits::{
    ACCEPT_RETRY, CONNECTION_WINDOW_BYTES, DRAIN_REQUESTS, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT,
    REQUEST_HEADERS_MAX_BYTES, REQUESTS_PER_CONNECTION_MAX, STREAM_WINDOW_BYTES,
};

/// Serves until `stop` is set; then requests in flight may end, for a while.
pub async fn serve(listener: UnixListener, service: CriService, stop: watch::Receiver<bool>) {
    let clients = Arc::new(Clients::default());
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let place = clients.place().await;
                    connections.spawn(connection(stream, service.clone(), stop.clone(), place));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a client");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
            // Those that have ended are forgotten.
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accept => {}
        () = stopped(stop.clone()) => {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_REQUESTS, drained).await.is_err() {
        warn!("some clients had not left; what was under way for them is finished or undone at the next start");
    }
}

/// Ends when the daemon stops.
async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error says that whoever could set it is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Speaks with one client until it leaves or must leave, or until the daemon stops and its requests are answered.
async fn connection(stream: UnixStream, service: CriService, stop: watch::Receiver<bool>, place: Place) {
    let place = Arc::new(place);
    let asked = place.clone();
    let answer = service_fn(move |request| {
        let (service, asking) = (service.clone(), asked.ask());
        async move { Ok::<_, Infallible>(service.answer(request).await.map(|body| Answer::new(body, asking))) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX)
        .max_header_list_size(REQUEST_HEADERS_MAX_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.dismissed() => return,
        () = stopped(stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a client's connection broke");
    }
}
