//! Ctrl-C and its kin, for commands that have something to clear up.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

/// The signals that ask this program to end. Once it listens, they do nothing else.
pub struct Interrupts {
    signals: Vec<(u8, Signal)>,
}

impl Interrupts {
    pub fn listen() -> Result<Self, Error> {
        Self::to(&[2, 15])
    }

    /// Beside these those that would end it all the same, but with the terminal as it is: raw.
    pub fn listen_at_terminal() -> Result<Self, Error> {
        Self::to(&[1, 2, 3, 15])
    }

    fn to(numbers: &[u8]) -> Result<Self, Error> {
        let listen = |&number: &u8| Ok((number, signal(SignalKind::from_raw(number.into()))?));
        let signals: Result<_, std::io::Error> = numbers.iter().map(listen).collect();
        let signals = signals.map_err(|error| Error::local(format!("cannot listen for signals: {error}")))?;
        Ok(Interrupts { signals })
    }

    /// Waits for the next one, and gives its number.
    pub async fn next(&mut self) -> u8 {
        poll_fn(|context| {
            let come = |(number, signal): &mut (u8, Signal)| signal.poll_recv(context).is_ready().then_some(*number);
            self.signals.iter_mut().find_map(come).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Does `work`, which may be dropped at any moment, until it is done or one comes.
    pub async fn unless<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            signal = self.next() => Err(Error::Interrupted { signal }),
        }
    }
}
