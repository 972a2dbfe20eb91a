//! The server on loopback, with an engine in a world without processes: what clients get, and what is left of them.

mod clients;
mod commands;
mod detaching;
mod every_way;
mod forwards;
mod hostile;
mod tls;

#[path = "../../../../engine/tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cradle_domain::ContainerId;
use cradle_engine::Engine;
use cradle_testkit::world::{Life, World};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Config, Server, Shared, Urls};
use crate::limits::{BUFFERS_KEPT, SESSIONS_MAX};
use crate::request::{Request, Wanted};

/// What anything may take in these tests.
const SOON: Duration = Duration::from_secs(10);

const OUTPUT: Wanted = Wanted { stdin: false, stdout: true, stderr: false, terminal: false };
const BOTH: Wanted = Wanted { stdin: true, stdout: true, stderr: false, terminal: false };

/// A server, and a running container in its world.
struct Place {
    world: Arc<World>,
    shared: Arc<Shared>,
    urls: Urls,
    address: SocketAddr,
    pod: String,
    container: ContainerId,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Place {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        let world = World::new();
        let engine = Engine::start(Life::new(&world, u64::MAX).ports(), support::settings()).await.unwrap();
        let pod = engine.run_pod(support::pod_spec()).await.unwrap().to_string();
        let container = engine.create_container(&pod, support::container_spec()).await.unwrap();
        engine.start_container(container.as_str()).await.unwrap();
        let (server, urls) = Server::bind(config, engine).await.unwrap();
        let (shared, address) = (server.shared.clone(), server.listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(server.serve(stopped));
        Place { world, shared, urls, address, pod, container, stop, serving }
    }

    /// The path of a new URL.
    fn path(&self, request: Request) -> String {
        let url = self.urls.url(request).unwrap();
        url.split_once(&self.address.to_string()).unwrap().1.to_owned()
    }

    fn exec(&self, command: &[&str], wanted: Wanted) -> String {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        self.path(Request::Exec { container: self.container.to_string(), command, wanted })
    }

    fn attach(&self) -> String {
        self.path(Request::Attach { container: self.container.to_string(), wanted: BOTH })
    }

    fn port_forward(&self, ports: &[u16]) -> String {
        self.path(Request::PortForward { pod: self.pod.clone(), ports: ports.to_vec() })
    }

    /// Waits until no session is left, and sees that nothing of them is.
    async fn empty(&self) {
        until("no session is left", || self.shared.sessions.available_permits() == SESSIONS_MAX).await;
        assert!(self.shared.buffers.kept() <= BUFFERS_KEPT);
    }
}

/// Waits for a condition.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Waits for something that must not take long.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap()
}
