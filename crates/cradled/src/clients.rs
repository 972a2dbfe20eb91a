//! The clients that are connected, and who gives way when there are too many: a client that stalls keeps nobody out.
//!
//! Whoever waits for an answer stays. Of the others the one leaves that has been idle longest, and before that those who
//! never asked for anything. A client that is alive connects again with its next request.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tracing::warn;

use crate::limits::{CONNECTIONS_MAX, CROWD_TOLD_INTERVAL};

/// All who are connected.
#[derive(Default)]
pub struct Clients {
    table: Mutex<Table>,
    /// Somebody has left, or has become idle.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    next: u64,
    clients: BTreeMap<u64, Client>,
    /// When it was last told that there are too many.
    told: Option<Instant>,
}

struct Client {
    /// Requests that await their answer, or its end.
    asking: usize,
    has_asked: bool,
    idle_since: Instant,
    leave: Arc<Notify>,
    is_leaving: bool,
}

impl Clients {
    /// A place for one more client, at once unless all others wait for answers.
    pub async fn place(self: &Arc<Self>) -> Place {
        loop {
            let changed = self.changed.notified();
            if let Some(place) = self.try_place() {
                return place;
            }
            changed.await;
        }
    }

    fn try_place(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.table();
        if table.clients.len() >= CONNECTIONS_MAX {
            table.dismiss();
            return None;
        }
        let (number, leave) = (table.next, Arc::new(Notify::new()));
        table.next += 1;
        let client =
            Client { asking: 0, has_asked: false, idle_since: Instant::now(), leave: leave.clone(), is_leaving: false };
        table.clients.insert(number, client);
        Some(Place { clients: self.clone(), number, leave })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Asks one client to leave, unless one is about to, or all wait for answers.
    fn dismiss(&mut self) {
        if self.clients.values().any(|client| client.is_leaving) {
            return;
        }
        let idle = self.clients.values_mut().filter(|client| client.asking == 0);
        if let Some(client) = idle.min_by_key(|client| (client.has_asked, client.idle_since)) {
            client.is_leaving = true;
            client.leave.notify_one();
        }
        if self.told.is_none_or(|told| told.elapsed() >= CROWD_TOLD_INTERVAL) {
            self.told = Some(Instant::now());
            warn!(clients = self.clients.len(), "too many clients: those who ask for nothing are disconnected");
        }
    }
}

/// One client's place, until it is dropped.
pub struct Place {
    clients: Arc<Clients>,
    number: u64,
    leave: Arc<Notify>,
}

impl Place {
    /// Waits until the client must leave.
    pub async fn dismissed(&self) {
        self.leave.notified().await;
    }

    /// The client asks for something, until this is dropped.
    pub fn ask(self: &Arc<Self>) -> Asking {
        if let Some(client) = self.clients.table().clients.get_mut(&self.number) {
            client.asking += 1;
            client.has_asked = true;
        }
        Asking { place: self.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.table().clients.remove(&self.number);
        self.clients.changed.notify_one();
    }
}

/// A request of a client, from its beginning to the end of its answer.
pub struct Asking {
    place: Arc<Place>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Place { clients, number, .. } = &*self.place;
        if let Some(client) = clients.table().clients.get_mut(number) {
            client.asking -= 1;
            client.idle_since = Instant::now();
        }
        clients.changed.notify_one();
    }
}

/// The body of an answer, to whose end the request goes on.
pub struct Answer<B> {
    body: B,
    _asking: Asking,
}

impl<B> Answer<B> {
    pub fn new(body: B, asking: Asking) -> Self {
        Answer { body, _asking: asking }
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn full() -> (Arc<Clients>, Vec<Arc<Place>>) {
        let clients = Arc::new(Clients::default());
        let mut places = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            places.push(Arc::new(clients.place().await));
        }
        (clients, places)
    }

    /// Who of them is asked to leave.
    async fn dismissed(places: &[Arc<Place>]) -> Vec<usize> {
        let mut leaving = Vec::new();
        for (number, place) in places.iter().enumerate() {
            if tokio::time::timeout(Duration::ZERO, place.dismissed()).await.is_ok() {
                leaving.push(number);
            }
        }
        leaving
    }

    #[tokio::test]
    async fn who_never_asked_gives_way_first_and_then_who_has_been_idle_longest() {
        let (clients, mut places) = full().await;
        for (number, place) in places.iter().enumerate() {
            if number != 7 {
                drop(place.ask());
            }
        }
        for expected in [7, 0] {
            assert!(clients.try_place().is_none() && clients.try_place().is_none());
            assert_eq!(dismissed(&places).await, [expected]);
            drop(places.remove(expected));
            let place = tokio::time::timeout(Duration::from_secs(5), clients.place()).await.unwrap();
            drop(place);
            places.push(Arc::new(clients.place().await));
            drop(places[CONNECTIONS_MAX - 1].ask());
        }
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_stays_and_a_newcomer_waits() {
        let (clients, places) = full().await;
        let mut asking: Vec<_> = places.iter().map(Place::ask).collect();
        let mut newcomer = std::pin::pin!(clients.place());
        assert!(tokio::time::timeout(Duration::ZERO, newcomer.as_mut()).await.is_err());
        assert!(dismissed(&places).await.is_empty());
        drop(asking.remove(3));
        assert!(tokio::time::timeout(Duration::ZERO, newcomer.as_mut()).await.is_err());
        assert_eq!(dismissed(&places).await, [3]);
        drop(asking);
        drop(places);
        tokio::time::timeout(Duration::from_secs(5), newcomer).await.unwrap();
    }
}
