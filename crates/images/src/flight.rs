//! Single flight: askers of the same thing at the same time share one piece of work and its outcome. The work is given up
//! when the last of them has gone.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cradle_engine::ports::ProgressSink;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::progress::Board;

/// Work under way, by key.
pub struct Flights<K, V> {
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    next: u64,
    running: HashMap<K, Flight<V>>,
}

struct Flight<V> {
    number: u64,
    askers: usize,
    outcome: watch::Receiver<Option<V>>,
    board: Arc<Board>,
    work: AbortHandle,
}

/// The work ended without an outcome: it panicked, or the runtime is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("the work was lost by a defect of the image store")]
pub struct Lost;

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Flights { state: Mutex::new(State { next: 0, running: HashMap::new() }) }
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Waits for the outcome of the work on `key`, which `start` makes if none is under way.
    pub async fn join<F>(
        self: &Arc<Self>,
        key: K,
        watcher: Option<ProgressSink>,
        start: impl FnOnce(Arc<Board>) -> F,
    ) -> Result<V, Lost>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (asker, mut outcome, board) = self.board(key, start);
        let _watching = watcher.map(|watcher| board.watch(watcher));
        let value = outcome.wait_for(Option::is_some).await.map_err(|_closed| Lost)?.clone();
        drop(asker);
        value.ok_or(Lost)
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.lock().running.is_empty()
    }

    fn board<F>(
        self: &Arc<Self>,
        key: K,
        start: impl FnOnce(Arc<Board>) -> F,
    ) -> (Asker<K, V>, watch::Receiver<Option<V>>, Arc<Board>)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut state = self.lock();
        let asker = |number| Asker { flights: Arc::clone(self), key: key.clone(), number };
        if let Some(flight) = state.running.get_mut(&key) {
            flight.askers += 1;
            return (asker(flight.number), flight.outcome.clone(), Arc::clone(&flight.board));
        }
        let number = state.next;
        state.next += 1;
        let board = Arc::new(Board::default());
        let (send, outcome) = watch::channel(None);
        let work = start(Arc::clone(&board));
        let landing = Landing { flights: Arc::clone(self), key: key.clone(), number };
        let task = tokio::spawn(async move {
            let value = work.await;
            // Later askers begin anew and find what this flight has brought.
            drop(landing);
            // No receiver: nobody wants to know any more.
            let _ = send.send(Some(value));
        });
        let flight = Flight {
            number,
            askers: 1,
            outcome: outcome.clone(),
            board: Arc::clone(&board),
            work: task.abort_handle(),
        };
        state.running.insert(key.clone(), flight);
        (asker(number), outcome, board)
    }

    fn land(&self, key: &K, number: u64) {
        let mut state = self.lock();
        if state.running.get(key).is_some_and(|flight| flight.number == number) {
            state.running.remove(key);
        }
    }

    fn leave(&self, key: &K, number: u64) {
        let mut state = self.lock();
        let Some(flight) = state.running.get_mut(key).filter(|flight| flight.number == number) else { return };
        flight.askers -= 1;
        if flight.askers == 0 {
            flight.work.abort();
            state.running.remove(key);
        }
    }
}

impl<K, V> Flights<K, V> {
    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One asker's interest.
struct Asker<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    flights: Arc<Flights<K, V>>,
    key: K,
    number: u64,
}

impl<K, V> Drop for Asker<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.flights.leave(&self.key, self.number);
    }
}

/// Takes the flight off the list when its work ends, also by a panic.
struct Landing<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    flights: Arc<Flights<K, V>>,
    key: K,
    number: u64,
}

impl<K, V> Drop for Landing<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.flights.land(&self.key, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    #[tokio::test]
    async fn twenty_askers_share_one_piece_of_work() {
        let flights: Arc<Flights<&str, usize>> = Arc::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let askers: Vec<_> = (0..20)
            .map(|_| {
                let (flights, begun, gate) = (flights.clone(), begun.clone(), gate.clone());
                tokio::spawn(async move {
                    let work = |_| async move {
                        gate.acquire().await.map(drop).unwrap();
                        begun.fetch_add(1, Ordering::SeqCst)
                    };
                    flights.join("image", None, work).await
                })
            })
            .collect();
        while flights.lock().running.get("image").is_none_or(|flight| flight.askers < 20) {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        for asker in askers {
            assert_eq!(asker.await.unwrap().unwrap(), 0);
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        assert!(flights.is_idle());
    }

    #[tokio::test]
    async fn the_work_is_given_up_with_its_last_asker_only() {
        let flights: Arc<Flights<&str, ()>> = Arc::default();
        let (alive, mut gone) = oneshot::channel::<()>();
        let work = |_| async move {
            let _alive = alive;
            std::future::pending().await
        };
        let first = tokio::spawn({
            let flights = flights.clone();
            async move { flights.join("image", None, work).await }
        });
        while flights.is_idle() {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn({
            let flights = flights.clone();
            async move { flights.join("image", None, |_| std::future::pending()).await }
        });
        while flights.lock().running.get("image").is_none_or(|flight| flight.askers < 2) {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert!(gone.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap().unwrap_err();
        assert!(flights.is_idle());
    }

    #[tokio::test]
    async fn work_that_panics_is_told_to_its_askers_and_forgotten() {
        let flights: Arc<Flights<&str, ()>> = Arc::default();
        let outcome = flights.join("image", None, |_| async { panic!("on purpose") }).await;
        assert!(outcome.is_err());
        assert!(flights.is_idle());
    }
}
