//! A small registry on the loopback interface that can misbehave in every way that real and hostile ones do.
//!
//! Written on raw sockets, since a proper HTTP library refuses to break the rules. It has a thread of its own, so that tests
//! with and without an async runtime can use it, and ends when it is dropped. The kernel chooses its port.
//!
//! It answers honestly unless a [`Rule`] says otherwise; the first rule that matches a request and is not used up is
//! applied. Every request is remembered for [`Registry::requests`].

mod certificates;
mod conversation;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub use certificates::{CertificateAuthority, Identity, Validity};
pub use cradle_domain::Digest;

use conversation::converse;

/// A way of misbehaving.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// A status with headers and a body instead of the answer.
    Status { status: u16, headers: Vec<(String, String)>, body: String },
    /// The answer with these headers instead of its own; an empty value removes one.
    Headers(Vec<(String, String)>),
    /// Other bytes, honestly described.
    Bytes(Vec<u8>),
    /// The body cut or filled up with spaces to so many bytes, and said to be of that length.
    Length(u64),
    /// The request is read, and nothing is said.
    Silence,
    /// One byte of the body at a time, with a pause after each.
    Drip(Duration),
    /// The connection is reset after so many bytes of the body.
    ResetAfter(u64),
    /// The connection is closed after so many bytes of the body.
    CloseAfter(u64),
    /// The whole body whatever range was asked for.
    IgnoreRange,
    /// The first bytes, said to be the range that was asked for in nothing but the status.
    WrongRange,
    /// The body in chunks, without a length, and then so many surplus bytes.
    Chunked { surplus: u64 },
    /// Chunks without end.
    Endless,
}

impl Behaviour {
    pub fn status(status: u16) -> Self {
        Behaviour::Status { status, headers: Vec::new(), body: String::new() }
    }

    pub fn status_with(status: u16, name: &str, value: &str) -> Self {
        Behaviour::Status { status, headers: vec![(name.to_owned(), value.to_owned())], body: String::new() }
    }

    pub fn redirect(location: &str) -> Self {
        Behaviour::status_with(307, "Location", location)
    }

    pub fn header(name: &str, value: &str) -> Self {
        Behaviour::Headers(vec![(name.to_owned(), value.to_owned())])
    }
}

#[derive(Debug, Clone)]
struct Rule {
    /// What the method and target must contain, as in `HEAD /v2/` or `/blobs/`.
    pattern: String,
    behaviour: Behaviour,
    times_left: u32,
}

/// What a request must prove.
#[derive(Debug, Clone)]
pub enum Guard {
    Open,
    /// `user:password`
    Basic(String),
    /// A token of the server at `realm`.
    Bearer {
        realm: String,
        token: String,
    },
}

/// What `/token` gives to whom. Any registry of the test kit can be a token server.
#[derive(Debug, Clone)]
pub struct TokenServer {
    /// `user:password` that must be shown by `GET`; none: anybody.
    pub user: Option<String>,
    /// The identity token that must be shown by `POST`.
    pub identity_token: Option<String>,
    pub token: String,
    pub expires_in: u64,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Counted from 0 in the order in which the connections were made.
    pub connection: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A running registry.
pub struct Registry {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    blobs: HashMap<String, Arc<[u8]>>,
    /// By `repository/manifests/name`.
    manifests: HashMap<String, StoredManifest>,
    rules: Vec<Rule>,
    guard: Guard,
    tokens: Option<TokenServer>,
    seen: Vec<Seen>,
    connections: usize,
}

#[derive(Debug, Clone)]
struct StoredManifest {
    media_type: String,
    bytes: Arc<[u8]>,
}

/// Where a registry listens.
enum Door {
    Tcp(std::net::TcpListener),
    Tls(std::net::TcpListener, Arc<rustls::ServerConfig>),
    Unix(std::os::unix::net::UnixListener),
}

impl Registry {
    /// A registry that speaks plain HTTP.
    pub fn start() -> Self {
        let (address, listener) = listen();
        Self::run(address, "http", Door::Tcp(listener))
    }

    /// A registry with TLS that shows `identity` and, if `clients` is given, wants a certificate of that authority.
    pub fn start_tls(identity: &Identity, clients: Option<&CertificateAuthority>) -> Self {
        let (address, listener) = listen();
        Self::run(address, "https", Door::Tls(listener, identity.server(clients)))
    }

    /// A registry on a unix socket.
    pub fn start_unix(path: &Path) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket can be made");
        Self::run(SocketAddr::from(([127, 0, 0, 1], 0)), "unix", Door::Unix(listener))
    }

    fn run(address: SocketAddr, scheme: &'static str, door: Door) -> Self {
        let state = Arc::new(Mutex::new(State {
            blobs: HashMap::new(),
            manifests: HashMap::new(),
            rules: Vec::new(),
            guard: Guard::Open,
            tokens: None,
            seen: Vec::new(),
            connections: 0,
        }));
        let (stop, stopped) = oneshot::channel();
        let shared = state.clone();
        let thread = std::thread::Builder::new().name("test-registry".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(door, shared) => (),
                    _ = stopped => (),
                }
            });
        });
        Registry { address, scheme, state, stop: Some(stop), thread: Some(thread.expect("a thread starts")) }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:PORT` or `https://…`
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Stores a blob in every repository.
    pub fn put_blob(&self, bytes: impl Into<Arc<[u8]>>) -> Digest {
        let bytes = bytes.into();
        let digest = digest_of(&bytes);
        self.state().blobs.insert(digest.to_string(), bytes);
        digest
    }

    /// Stores a manifest under its digest and a tag.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: impl Into<Arc<[u8]>>) -> Digest {
        let manifest = StoredManifest { media_type: media_type.to_owned(), bytes: bytes.into() };
        let digest = digest_of(&manifest.bytes);
        let mut state = self.state();
        state.manifests.insert(format!("{repository}/manifests/{tag}"), manifest.clone());
        state.manifests.insert(format!("{repository}/manifests/{digest}"), manifest);
        digest
    }

    /// Misbehaves for every request whose method and target contain `pattern`.
    pub fn misbehave(&self, pattern: &str, behaviour: Behaviour) {
        self.misbehave_times(pattern, behaviour, u32::MAX);
    }

    /// Misbehaves for the next `times` requests whose method and target contain `pattern`.
    pub fn misbehave_times(&self, pattern: &str, behaviour: Behaviour, times: u32) {
        self.state().rules.push(Rule { pattern: pattern.to_owned(), behaviour, times_left: times });
    }

    /// Forgets all rules.
    pub fn behave(&self) {
        self.state().rules.clear();
    }

    /// Lets only those in who prove who they are.
    pub fn guard(&self, guard: Guard) {
        self.state().guard = guard;
    }

    /// Answers at `/token`.
    pub fn serve_tokens(&self, tokens: TokenServer) {
        self.state().tokens = Some(tokens);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed, and the test that met it has failed by what it did not get.
            let _ = thread.join();
        }
    }
}

/// The digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

fn listen() -> (SocketAddr, std::net::TcpListener) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback interface has a free port");
    (listener.local_addr().expect("a bound socket has an address"), listener)
}

async fn serve(door: Door, state: Arc<Mutex<State>>) {
    let unblocked = "a listener can be made non-blocking";
    match door {
        Door::Tcp(listener) => {
            listener.set_nonblocking(true).expect(unblocked);
            let listener = TcpListener::from_std(listener).expect(unblocked);
            while let Ok((stream, _)) = listener.accept().await {
                answer_at_once(&stream);
                tokio::spawn(converse(stream, state.clone()));
            }
        }
        Door::Tls(listener, config) => {
            listener.set_nonblocking(true).expect(unblocked);
            let listener = TcpListener::from_std(listener).expect(unblocked);
            let acceptor = TlsAcceptor::from(config);
            while let Ok((stream, _)) = listener.accept().await {
                answer_at_once(&stream);
                let (acceptor, state) = (acceptor.clone(), state.clone());
                tokio::spawn(async move {
                    // A client that does not like the certificate goes away, which is its right.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, state).await;
                    }
                });
            }
        }
        Door::Unix(listener) => {
            listener.set_nonblocking(true).expect(unblocked);
            let listener = UnixListener::from_std(listener).expect(unblocked);
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, state.clone()));
            }
        }
    }
}

/// The body of an answer does not wait until its head is acknowledged, which takes a client 40 ms.
fn answer_at_once(stream: &TcpStream) {
    stream.set_nodelay(true).expect("a connection can be told not to wait");
}
