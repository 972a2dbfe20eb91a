//! Connections whose request is not complete: so many, and no more. For another one the oldest gives way, so that clients
//! that stall keep nobody out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

use crate::limits::HALF_OPEN_MAX;

/// Those that are half open, the oldest first.
#[derive(Default)]
pub(crate) struct HalfOpen {
    connections: VecDeque<(AbortHandle, Ticket)>,
}

/// Decides, once, whether a connection's request is complete or the connection has given way.
#[derive(Clone, Default)]
pub(crate) struct Ticket(Arc<AtomicBool>);

impl Ticket {
    /// Whether this is the first who asks.
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl HalfOpen {
    /// Notes a connection, whose task takes the ticket when its request is complete.
    pub fn add(&mut self, connection: AbortHandle, ticket: Ticket) {
        self.connections.retain(|(_, ticket)| !ticket.is_taken());
        if self.connections.len() >= HALF_OPEN_MAX
            && let Some((oldest, ticket)) = self.connections.pop_front()
            && ticket.take()
        {
            oldest.abort();
        }
        self.connections.push_back((connection, ticket));
    }
}
