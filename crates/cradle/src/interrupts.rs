//! Ctrl-C and its kin, for commands that have something to clear up.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

/// The signals that ask this program to end. Once it listens, they do nothing else.
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::local(format!("cannot listen for signals: {error}")));
        Ok(Interrupts { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one, and gives its number.
    pub async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }

    /// Does `work`, which may be dropped at any moment, until it is done or one comes.
    pub async fn unless<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            signal = self.next() => Err(Error::Interrupted { signal }),
        }
    }
}
