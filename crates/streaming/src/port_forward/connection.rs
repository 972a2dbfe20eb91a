//! One connection into a pod: dialled, then copied in both directions, each of which ends by itself.

use std::sync::Arc;

use bytes::Bytes;
use cradle_domain::{Class, Failure};
use tokio::sync::{mpsc, watch};

use crate::carrier::{Gone, Outlet};
use crate::descriptor::Descriptor;
use crate::flag::raised;
use crate::limits::FORWARD_CHUNKS;
use crate::server::Shared;

/// What the client sends on a connection's stream, as far as whoever reads from the client has it.
pub(super) struct Inlet {
    /// None: the client has ended its direction, or nobody takes it any more.
    bytes: Option<mpsc::Sender<Bytes>>,
    given_up: watch::Sender<bool>,
}

/// The other side of an [`Inlet`].
pub(super) struct Incoming {
    bytes: mpsc::Receiver<Bytes>,
    given_up: watch::Receiver<bool>,
}

pub(super) fn inlet() -> (Inlet, Incoming) {
    let (sender, receiver) = mpsc::channel(FORWARD_CHUNKS);
    let (give_up, given_up) = watch::channel(false);
    (Inlet { bytes: Some(sender), given_up: give_up }, Incoming { bytes: receiver, given_up })
}

impl Inlet {
    /// Waits while too much of what came before has not been taken.
    pub async fn put(&mut self, bytes: &[u8]) {
        let Some(sender) = self.bytes.as_ref().filter(|_| !bytes.is_empty()) else { return };
        if sender.send(Bytes::copy_from_slice(bytes)).await.is_err() {
            self.bytes = None;
        }
    }

    /// The client sends no more.
    pub fn end(&mut self) {
        self.bytes = None;
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
        let Incoming { bytes, mut given_up } = incoming;
        let dialled = tokio::select! {
            dialled = self.dial() => dialled,
            () = raised(&mut given_up) => return self.error.end().await,
        };
        match dialled {
            Ok(socket) => {
                let down = self.down(&socket, given_up.clone());
                tokio::try_join!(up(&socket, bytes, given_up), down).map(|_| ())
            }
            Err(failure) => {
                let text = format!("forwarding port {} of pod {}: {failure}", self.port, self.pod);
                self.error.send_text(text.as_bytes(), &self.shared.buffers).await?;
                self.error.end().await?;
                self.data.reset().await
            }
        }
    }

    async fn dial(&self) -> Result<Descriptor, Failure> {
        let socket = self.shared.engine.dial(&self.pod, self.port).await?;
        let watched = Descriptor::new(socket);
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

/// From the client to the pod.
async fn up(
    socket: &Descriptor,
    mut incoming: mpsc::Receiver<Bytes>,
    mut given_up: watch::Receiver<bool>,
) -> Result<(), Gone> {
    let copy = async {
        while let Some(bytes) = incoming.recv().await {
            if socket.write_all(&bytes).await.is_err() {
                // The pod takes no more; what it sends is still wanted.
                return;
            }
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
