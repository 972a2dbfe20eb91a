//! One connection into a pod: dialled, then copied in both directions, each of which ends by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use cradle_domain::{Class, Failure};
use tokio::sync::{mpsc, watch};

use crate::buffers::{Buffer, Buffers};
use crate::carrier::{Gone, Outlet};
use crate::descriptor::Descriptor;
use crate::flag::raised;
use crate::limits::FORWARD_CHUNKS;
use crate::server::Shared;
use crate::socket::do_not_pace;

/// Where whoever reads from the client puts what is for a connection. What the pod does not take at once waits in a queue,
/// so that a slow connection holds up the others only when that is full.
pub(super) struct Inlet {
    /// None: the client has ended its direction, or nobody takes it any more.
    queue: Option<mpsc::Sender<Buffer>>,
    /// While the connection is there.
    way: Weak<Way>,
    given_up: watch::Sender<bool>,
}

/// The other side of an [`Inlet`].
pub(super) struct Incoming {
    queue: mpsc::Receiver<Buffer>,
    way: Arc<Way>,
    given_up: watch::Receiver<bool>,
}

/// What both sides know.
#[derive(Default)]
struct Way {
    /// Since the connection is made.
    socket: OnceLock<Descriptor>,
    /// Buffers in the queue, or being written. While there are none, whoever reads from the client writes.
    waiting: AtomicUsize,
}

pub(super) fn inlet() -> (Inlet, Incoming) {
    let (sender, receiver) = mpsc::channel(FORWARD_CHUNKS);
    let (give_up, given_up) = watch::channel(false);
    let way = Arc::new(Way::default());
    let inlet = Inlet { queue: Some(sender), way: Arc::downgrade(&way), given_up: give_up };
    (inlet, Incoming { queue: receiver, way, given_up })
}

impl Inlet {
    /// Waits while the queue is full.
    pub async fn put(&mut self, mut bytes: &[u8], buffers: &Arc<Buffers>) {
        let (Some(queue), Some(way)) = (&self.queue, self.way.upgrade()) else { return };
        if let Some(socket) = way.socket.get()
            && way.waiting.load(Ordering::Acquire) == 0
        {
            // An error is told by the next write as well.
            let written = socket.write_now(bytes).unwrap_or_default();
            bytes = &bytes[written..];
        }
        while !bytes.is_empty() {
            let mut buffer = buffers.take();
            let taken = buffer.put(bytes);
            bytes = &bytes[taken..];
            way.waiting.fetch_add(1, Ordering::Release);
            if queue.send(buffer).await.is_err() {
                self.queue = None;
                return;
            }
        }
    }

    /// The client sends no more.
    pub fn end(&mut self) {
        self.queue = None;
    }

    /// The client wants the connection no more.
    pub fn give_up(&self) {
        self.given_up.send_replace(true);
    }
}

/// Where a connection leads, and our direction of its two streams.
pub(super) struct Forward {
    pub shared: Arc<Shared>,
    pub pod: Arc<str>,
    pub port: u16,
    pub data: Outlet,
    pub error: Outlet,
}

impl Forward {
    /// Ends when both directions have, or one of the two sides gives the connection up. An error says that the client is
    /// gone.
    pub async fn run(self, incoming: Incoming) -> Result<(), Gone> {
        let Incoming { queue, way, mut given_up } = incoming;
        let dialled = tokio::select! {
            dialled = self.dial() => dialled,
            () = raised(&mut given_up) => return self.error.end().await,
        };
        match dialled {
            Ok(socket) => {
                let socket = way.socket.get_or_init(|| socket);
                let down = self.down(socket, given_up.clone());
                tokio::try_join!(up(socket, &way.waiting, queue, given_up), down).map(|_| ())
            }
            Err(failure) => {
                self.error.send_text(failure.to_string().as_bytes(), &self.shared.buffers).await?;
                self.error.end().await?;
                self.data.reset().await
            }
        }
    }

    async fn dial(&self) -> Result<Descriptor, Failure> {
        let socket = self.shared.engine.dial(&self.pod, self.port).await?;
        // From the pod's namespace to a port on its own loopback.
        do_not_pace(&socket);
        let watched = Descriptor::stream(socket);
        watched.map_err(|error| Failure::new(Class::Exhausted, format!("watching the connection: {error}")))
    }

    /// From the pod to the client. When this direction has ended, nothing can go wrong any more that the client could
    /// be told of: some wait for that before they close theirs.
    async fn down(&self, socket: &Descriptor, mut given_up: watch::Receiver<bool>) -> Result<(), Gone> {
        loop {
            let read = tokio::select! {
                read = socket.read(&self.shared.buffers) => read,
                () = raised(&mut given_up) => break,
            };
            match read {
                Ok(Some(buffer)) => self.data.send(buffer).await?,
                Ok(None) => {
                    self.data.end().await?;
                    break;
                }
                // The pod has reset the connection.
                Err(_) => {
                    self.data.reset().await?;
                    break;
                }
            }
        }
        self.error.end().await
    }
}

/// From the client to the pod: what the queue holds, and then its end.
async fn up(
    socket: &Descriptor,
    waiting: &AtomicUsize,
    mut queue: mpsc::Receiver<Buffer>,
    mut given_up: watch::Receiver<bool>,
) -> Result<(), Gone> {
    let copy = async {
        while let Some(buffer) = queue.recv().await {
            if socket.write_all(buffer.bytes()).await.is_err() {
                // The pod takes no more; what it sends is still wanted.
                return;
            }
            waiting.fetch_sub(1, Ordering::Release);
        }
        // An error says that the pod has closed the connection already.
        let _ = socket.finish();
    };
    tokio::select! {
        () = copy => {}
        () = raised(&mut given_up) => {}
    }
    Ok(())
}
