//! Save: images as an archive, which is written as fast as the client reads it.

use cradle_cri_api::cradle_v1 as v1;
use cradle_domain::Failure;
use cradle_engine::ports::ByteStream;
use cradle_engine::request;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::batches::Batches;
use crate::edge::Edge;
use crate::from_proto::Field;
use crate::status;

/// A piece of the archive, or why there is no next one.
type Message = Result<v1::SaveResponse, Failure>;

pub async fn answer(edge: &Edge, request: v1::SaveRequest) -> Result<Batches<v1::SaveResponse>, Failure> {
    let field = Field::root("images");
    if request.images.is_empty() {
        return Err(field.missing().into());
    }
    let names = request.images.into_iter().map(|name| field.nonempty(name)).collect::<Result<Vec<_>, _>>()?;
    let images = edge.images.clone();
    let archive = edge.act_while_asked(async move { images.save(names).await }).await?;
    let (messages, pieces) = mpsc::channel(1);
    request::spawn(send(archive, messages));
    Ok(Box::pin(ReceiverStream::new(pieces).map(|piece| piece.map_err(|failure| status::from_failure(&failure)))))
}

/// Sends an archive to its end, to an error or until the client leaves.
async fn send(mut archive: Box<dyn ByteStream>, messages: mpsc::Sender<Message>) {
    loop {
        let message = match archive.next().await {
            Ok(None) => return,
            Ok(Some(data)) => Ok(v1::SaveResponse { data }),
            Err(failure) => {
                tracing::warn!(%failure, "an archive of images breaks off");
                Err(failure)
            }
        };
        let is_last = message.is_err();
        if messages.send(message).await.is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use cradle_domain::Class;
    use cradle_engine::ports::Act;

    use super::*;

    /// Pieces to come, the next one last; then the end.
    struct Pieces(Vec<Result<Vec<u8>, Failure>>);

    impl ByteStream for Pieces {
        fn next(&mut self) -> Act<'_, Option<Vec<u8>>> {
            Box::pin(std::future::ready(self.0.pop().transpose()))
        }
    }

    async fn sent(pieces: Vec<Result<Vec<u8>, Failure>>) -> Vec<Result<Vec<u8>, Class>> {
        let (messages, mut told) = mpsc::channel(1);
        tokio::spawn(send(Box::new(Pieces(pieces)), messages));
        let mut all = Vec::new();
        while let Some(message) = told.recv().await {
            all.push(message.map(|message| message.data).map_err(|failure| failure.class()));
        }
        all
    }

    #[tokio::test]
    async fn an_archive_is_sent_to_its_end_or_to_the_first_error() {
        let piece = |text: &str| Ok(text.as_bytes().to_vec());
        assert_eq!(sent(vec![piece("b"), piece("a")]).await, [Ok(b"a".to_vec()), Ok(b"b".to_vec())]);
        let broken = || Err(Failure::new(Class::Corrupt, "damaged"));
        assert_eq!(sent(vec![piece("c"), broken(), piece("a")]).await, [Ok(b"a".to_vec()), Err(Class::Corrupt)]);
    }
}
