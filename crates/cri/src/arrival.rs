//! The arrival of a request's message: within a time, and all messages that are on their way hold a bounded number of
//! bytes. A client that begins requests and does not end them costs no more than that.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Buf, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::codegen::StdError;

use crate::limits::ARRIVING_MAX_BYTES;

/// What all messages on their way hold.
#[derive(Default)]
pub struct Arrivals {
    bytes: AtomicUsize,
}

/// The part of one request, from its first byte until its answer begins.
pub struct Held {
    of: Arc<Arrivals>,
    bytes: AtomicUsize,
}

impl Held {
    pub fn new(of: &Arc<Arrivals>) -> Arc<Self> {
        Arc::new(Held { of: of.clone(), bytes: AtomicUsize::new(0) })
    }

    fn add(&self, bytes: usize) -> Result<(), Status> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let all = self.of.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all <= ARRIVING_MAX_BYTES {
            return Ok(());
        }
        let why = format!("requests that are on their way hold {ARRIVING_MAX_BYTES} bytes already; ask again");
        Err(Status::resource_exhausted(why))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// The body of a request.
pub struct Arriving<B> {
    body: Pin<Box<B>>,
    bounds: Option<Bounds>,
}

struct Bounds {
    deadline: Pin<Box<Sleep>>,
    held: Arc<Held>,
}

impl<B> Arriving<B> {
    /// `within` is [`ARRIVES_WITHIN`](crate::limits::ARRIVES_WITHIN) but in tests.
    pub fn new(body: B, held: Arc<Held>, within: Duration) -> Self {
        let bounds = Bounds { deadline: Box::pin(tokio::time::sleep(within)), held };
        Arriving { body: Box::pin(body), bounds: Some(bounds) }
    }

    /// A body of many messages, each of which is gone before the next one is read; its RPC bounds the time of each.
    pub fn piecewise(body: B) -> Self {
        Arriving { body: Box::pin(body), bounds: None }
    }
}

impl<B> Body for Arriving<B>
where
    B: Body,
    B::Error: Into<StdError>,
{
    type Data = B::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.body.as_mut().poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                let held = self.bounds.as_ref().map_or(Ok(()), |bounds| bounds.held.add(bytes));
                Poll::Ready(Some(held.map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Status::from_error(error.into())))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let Some(bounds) = &mut self.bounds else { return Poll::Pending };
                let late = || Status::deadline_exceeded("the message of the request did not arrive in time");
                bounds.deadline.as_mut().poll(context).map(|()| Some(Err(late())))
            }
        }
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
    use std::future::poll_fn;

    use hyper::body::Bytes;
    use tonic::Code;

    use super::*;

    /// So many frames of as many bytes, and then nothing for ever.
    struct Endless(usize, usize);

    impl Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.0 == 0 {
                return Poll::Pending;
            }
            self.0 -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; self.1])))))
        }
    }

    /// What comes of it: bytes, and why no more.
    async fn arrive(body: Endless, of: &Arc<Arrivals>) -> (usize, Code, Arc<Held>) {
        let held = Held::new(of);
        let mut body = Arriving::new(body, held.clone(), Duration::from_millis(20));
        let mut bytes = 0;
        loop {
            match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.unwrap() {
                Ok(frame) => bytes += frame.into_data().unwrap().len(),
                Err(status) => return (bytes, status.code(), held),
            }
        }
    }

    #[tokio::test]
    async fn a_message_that_does_not_end_is_waited_for_no_longer_than_its_limit() {
        let arrivals = Arc::default();
        let (bytes, code, _held) = arrive(Endless(3, 100), &arrivals).await;
        assert_eq!((bytes, code), (300, Code::DeadlineExceeded));
    }

    #[tokio::test]
    async fn what_comes_in_pieces_may_be_of_any_size() {
        let mut body = Arriving::piecewise(Endless(9, ARRIVING_MAX_BYTES / 8));
        for _ in 0..9 {
            assert!(poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn all_messages_together_hold_no_more_than_their_limit_and_give_it_back() {
        let arrivals = Arc::default();
        let most = ARRIVING_MAX_BYTES / 4;
        for _ in 0..2 {
            let (_, code, first) = arrive(Endless(3, most), &arrivals).await;
            assert_eq!(code, Code::DeadlineExceeded);
            let (bytes, code, second) = arrive(Endless(3, most), &arrivals).await;
            assert_eq!((bytes, code), (most, Code::ResourceExhausted));
            drop((first, second));
        }
        assert_eq!(arrivals.bytes.load(Ordering::Relaxed), 0);
    }
}
