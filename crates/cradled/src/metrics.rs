//! Metrics for who watches the node: `GET /metrics` in the Prometheus text format, on an address of its own that is off
//! unless the configuration names one. It tells of no image, pod or container by name.

mod text;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use cradle_domain::{Class, Classified};
use cradle_engine::Engine;
use cradle_engine::ports::Images;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::limits::{ACCEPT_RETRY, METRICS_CONNECTIONS_MAX, METRICS_REQUEST, METRICS_REQUEST_MAX_BYTES};

/// Writes the page anew for each request.
type Page = Arc<dyn Fn() -> String + Send + Sync>;

/// An address that metrics cannot be served on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for metrics")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Classified for BindError {
    fn class(&self) -> Class {
        Class::Unavailable
    }

    fn hint(&self) -> Option<String> {
        Some("give metrics.address an address of this machine that nothing else listens on".to_owned())
    }
}

/// Listens for who asks.
pub struct Server {
    listener: TcpListener,
    page: Page,
}

impl Server {
    /// Listens. Who asks waits until [`Server::serve`].
    pub async fn bind(address: SocketAddr, engine: Arc<Engine>, images: Arc<dyn Images>) -> Result<Self, BindError> {
        Server::bind_page(address, Arc::new(move || text::page(&text::Seen::of(&engine, &*images)))).await
    }

    async fn bind_page(address: SocketAddr, page: Page) -> Result<Self, BindError> {
        let listener = TcpListener::bind(address).await.map_err(|source| BindError { address, source })?;
        Ok(Server { listener, page })
    }

    /// Serves until `stop` is set.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(METRICS_CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let accept = async {
            // The semaphore is never closed.
            while let Ok(place) = places.clone().acquire_owned().await {
                match self.listener.accept().await {
                    Ok((tcp, _)) => {
                        let answering = answer_one(tcp, self.page.clone());
                        connections.spawn(async move {
                            // Whoever stalls makes room after a while.
                            let _ = tokio::time::timeout(METRICS_REQUEST, answering).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a client of metrics");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                }
                // Those that have ended are forgotten.
                while connections.try_join_next().is_some() {}
            }
        };
        tokio::select! {
            () = accept => {}
            // An error says that whoever could set it is gone, which is a stop as well.
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

/// Answers the one request of a connection.
async fn answer_one(tcp: TcpStream, page: Page) {
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, &page))));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(METRICS_REQUEST_MAX_BYTES)
        .serve_connection(TokioIo::new(tcp), service);
    if let Err(error) = serving.await {
        debug!(%error, "a client of metrics could not be answered");
    }
}

fn answer(request: &Request<Incoming>, page: &Page) -> Response<String> {
    let mut response = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let mut response = Response::new(page());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
            return response;
        }
        (_, "/metrics") => refusal(StatusCode::METHOD_NOT_ALLOWED, "it can be got, and nothing else\n"),
        _ => refusal(StatusCode::NOT_FOUND, "there is /metrics, and nothing else\n"),
    };
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn refusal(status: StatusCode, message: &str) -> Response<String> {
    let mut response = Response::new(message.to_owned());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::*;

    struct Served {
        address: SocketAddr,
        stop: watch::Sender<bool>,
        serving: tokio::task::JoinHandle<()>,
    }

    async fn serve() -> Served {
        let page: Page = Arc::new(|| "a_total 1\n".to_owned());
        let server = Server::bind_page("127.0.0.1:0".parse().unwrap(), page).await.unwrap();
        let address = server.listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        Served { address, stop, serving: tokio::spawn(server.serve(stopped)) }
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_page_is_served_at_its_path_and_nothing_else_is() {
        let served = serve().await;
        let got = ask(served.address, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\na_total 1\n"), "{got}");
        assert!(got.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{got}");
        assert!(ask(served.address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask(served.address, "POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(ask(served.address, "GARBAGE\r\n\r\n").starts_with("HTTP/1.1 400 "));
        served.stop.send(true).unwrap();
        served.serving.await.unwrap();
        assert!(TcpStream::connect(served.address).is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn clients_that_stall_make_room_after_a_while() {
        let served = serve().await;
        let begun = Instant::now();
        let stalled: Vec<_> =
            (0..=METRICS_CONNECTIONS_MAX).map(|_| TcpStream::connect(served.address).unwrap()).collect();
        let got = ask(served.address, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
        assert!(begun.elapsed() < 2 * METRICS_REQUEST + Duration::from_secs(5), "{:?}", begun.elapsed());
        drop(stalled);
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Server::bind_page(address, Arc::new(String::new)).await.map(drop).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {address} for metrics"));
    }
}
