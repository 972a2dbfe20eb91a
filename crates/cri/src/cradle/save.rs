//! Save: images as an archive, which is written as fast as the client reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use cradle_cri_api::cradle_v1 as v1;
use cradle_domain::{Class, Failure};
use cradle_engine::ports::ByteStream;
use cradle_engine::request;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use crate::batches::Batches;
use crate::edge::Edge;
use crate::from_proto::Field;
use crate::limits::ARCHIVE_PIECE_WITHIN;
use crate::status;

/// A piece of the archive, none after the last one, or why there is no next one.
type Message = Result<Option<v1::SaveResponse>, Failure>;

pub async fn answer(edge: &Edge, request: v1::SaveRequest) -> Result<Batches<v1::SaveResponse>, Failure> {
    let field = Field::root("images");
    if request.images.is_empty() {
        return Err(field.missing().into());
    }
    let names = request.images.into_iter().map(|name| field.nonempty(name)).collect::<Result<Vec<_>, _>>()?;
    let images = edge.images.clone();
    let archive = edge.act_while_asked(async move { images.save(names).await }).await?;
    let (messages, input) = mpsc::channel(1);
    request::spawn(send(archive, messages));
    Ok(Box::pin(Pieces { input, ended: false }))
}

/// Sends an archive to its end, to an error, or until the client leaves or takes no more.
async fn send(mut archive: Box<dyn ByteStream>, messages: mpsc::Sender<Message>) {
    loop {
        let message = match archive.next().await {
            Ok(piece) => Ok(piece.map(|data| v1::SaveResponse { data })),
            Err(failure) => {
                tracing::warn!(%failure, "an archive of images breaks off");
                Err(failure)
            }
        };
        let is_last = !matches!(message, Ok(Some(_)));
        let sent = messages.send_timeout(message, ARCHIVE_PIECE_WITHIN).await;
        if sent.is_err() || is_last {
            return;
        }
    }
}

/// The archive for the client. It ends well only after its last message: a part must not pass for the whole.
struct Pieces {
    input: mpsc::Receiver<Message>,
    ended: bool,
}

impl Stream for Pieces {
    type Item = Result<v1::SaveResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.input.poll_recv(context).map(|message| {
            let item = match message {
                Some(Ok(Some(piece))) => return Some(Ok(piece)),
                Some(Ok(None)) => None,
                Some(Err(failure)) => Some(failure),
                None => Some(Failure::new(Class::Unavailable, "the archive was given up before its end")),
            };
            self.ended = true;
            item.map(|failure| Err(status::from_failure(&failure)))
        })
    }
}

#[cfg(test)]
mod tests {
    use cradle_engine::ports::Act;
    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;

    /// Pieces to come, the next one last; then the end.
    struct Archive(Vec<Result<Vec<u8>, Failure>>);

    impl ByteStream for Archive {
        fn next(&mut self) -> Act<'_, Option<Vec<u8>>> {
            Box::pin(std::future::ready(self.0.pop().transpose()))
        }
    }

    async fn received(input: mpsc::Receiver<Message>) -> Vec<Result<Vec<u8>, Code>> {
        let pieces = Pieces { input, ended: false };
        pieces.map(|piece| piece.map(|piece| piece.data).map_err(|status| status.code())).collect().await
    }

    async fn sent(pieces: Vec<Result<Vec<u8>, Failure>>) -> Vec<Result<Vec<u8>, Code>> {
        let (messages, input) = mpsc::channel(1);
        tokio::spawn(send(Box::new(Archive(pieces)), messages));
        received(input).await
    }

    #[tokio::test]
    async fn an_archive_is_sent_to_its_end_or_to_the_first_error() {
        let piece = |text: &str| Ok(text.as_bytes().to_vec());
        assert_eq!(sent(vec![piece("b"), piece("a")]).await, [Ok(b"a".to_vec()), Ok(b"b".to_vec())]);
        let broken = || Err(Failure::new(Class::Corrupt, "damaged"));
        assert_eq!(sent(vec![piece("c"), broken(), piece("a")]).await, [Ok(b"a".to_vec()), Err(Code::DataLoss)]);
    }

    #[tokio::test]
    async fn an_archive_that_is_given_up_does_not_end_well() {
        let (messages, input) = mpsc::channel(1);
        messages.send(Ok(Some(v1::SaveResponse { data: b"a".to_vec() }))).await.unwrap();
        drop(messages);
        assert_eq!(received(input).await, [Ok(b"a".to_vec()), Err(Code::Unavailable)]);
    }
}
