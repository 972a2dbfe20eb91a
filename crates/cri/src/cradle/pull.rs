//! Pull: PullImage with progress. A pull that fails before there is anything to tell of is answered with its status
//! alone, as PullImage is; a later failure ends the stream.

use std::sync::Arc;
use std::time::Instant;

use cradle_cri_api::cradle_v1 as v1;
use cradle_domain::{Class, Failure};
use cradle_engine::ports::PullRequest;
use cradle_engine::request;
use cradle_engine::view::ImageView;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{StreamExt, once};

use super::progress::Board;
use crate::batches::Batches;
use crate::edge::Edge;
use crate::from_proto::{self, Field};
use crate::limits::PROGRESS_INTERVAL;
use crate::service::log_failure;
use crate::status;

type Message = Result<v1::PullProgress, Failure>;

pub async fn answer(edge: &Edge, request: v1::PullRequest) -> Result<Batches<v1::PullProgress>, Failure> {
    let wish = from_proto::wish(Field::root("reference"), request.reference, request.auth)?;
    // One message waits for the client; what happens meanwhile is in the next one.
    let (messages, mut rest) = mpsc::channel(1);
    request::spawn(pull(edge.clone(), wish, messages));
    let first = rest.recv().await.unwrap_or_else(|| Err(lost()))?;
    let rest = ReceiverStream::new(rest).map(|message| message.map_err(|failure| status::from_failure(&failure)));
    Ok(Box::pin(once(Ok(first)).chain(rest)))
}

/// Pulls, and tells `messages` how far it is, until it is done or the client leaves.
async fn pull(edge: Edge, mut wish: PullRequest, messages: mpsc::Sender<Message>) {
    let board = Arc::new(Board::default());
    wish.progress = Some(board.sink());
    let images = edge.images.clone();
    tell(edge.act_while_asked(async move { images.pull(wish).await }), &board, &messages).await;
}

async fn tell(
    pulled: impl Future<Output = Result<Arc<ImageView>, Failure>>,
    board: &Board,
    messages: &mpsc::Sender<Message>,
) {
    let since = Instant::now();
    let mut begun = false;
    let outcome = tokio::select! {
        outcome = pulled => outcome,
        () = report(board, messages, &mut begun) => return,
    };
    if let (Err(failure), true) = (&outcome, begun) {
        log_failure(&status::from_failure(failure), since.elapsed());
    }
    let last = outcome.map(|image| v1::PullProgress { layers: board.take(), image_id: image.id.to_string() });
    // An error says that the client has left, and there is nobody to tell.
    let _ = messages.send(last).await;
}

/// Tells `messages` what has changed, at most once in an interval. Ends when the client has left.
async fn report(board: &Board, messages: &mpsc::Sender<Message>, begun: &mut bool) {
    loop {
        tokio::select! {
            () = board.changed() => {}
            () = messages.closed() => return,
        }
        let message = v1::PullProgress { layers: board.take(), image_id: String::new() };
        *begun = true;
        if messages.send(Ok(message)).await.is_err() {
            return;
        }
        tokio::time::sleep(PROGRESS_INTERVAL).await;
    }
}

fn lost() -> Failure {
    Failure::new(Class::Bug, "the pull ended without an outcome")
}

#[cfg(test)]
mod tests {
    use cradle_domain::Digest;
    use cradle_engine::ports::{LayerProgress, LayerState};
    use tokio::sync::oneshot;

    use super::*;

    fn image() -> Arc<ImageView> {
        Arc::new(ImageView {
            id: Digest::from_sha256([7; 32]),
            tags: Vec::new(),
            digests: Vec::new(),
            size_bytes: 1,
            pinned: false,
            config: Arc::default(),
            layers: Vec::new(),
        })
    }

    fn progress(state: LayerState) -> LayerProgress {
        LayerProgress { layer: Digest::from_sha256([1; 32]), state, done_bytes: 1, total_bytes: 2 }
    }

    /// A pull that is under way, the outcome that it will have, and what the client is told.
    type Outcome = oneshot::Sender<Result<Arc<ImageView>, Failure>>;

    fn under_way() -> (Arc<Board>, Outcome, mpsc::Receiver<Message>) {
        let (board, (end, ended)) = (Arc::new(Board::default()), oneshot::channel());
        let (messages, told) = mpsc::channel(1);
        let of_task = board.clone();
        tokio::spawn(async move {
            tell(async { ended.await.unwrap_or_else(|_| Err(lost())) }, &of_task, &messages).await;
        });
        (board, end, told)
    }

    #[tokio::test]
    async fn progress_comes_before_the_image_and_the_end_after_it() {
        let (board, end, mut told) = under_way();
        board.sink()(progress(LayerState::Fetching));
        let first = told.recv().await.unwrap().unwrap();
        assert_eq!((first.layers.len(), first.image_id.as_str()), (1, ""));
        board.sink()(progress(LayerState::Done));
        end.send(Ok(image())).unwrap();
        // What comes within the interval is in the last message.
        let last = told.recv().await.unwrap().unwrap();
        assert_eq!(last.layers[0].state(), v1::LayerState::Done);
        assert_eq!(last.image_id, image().id.to_string());
        assert!(told.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_failure_is_the_last_message() {
        let (_board, end, mut told) = under_way();
        end.send(Err(Failure::new(Class::NotFound, "no such image"))).unwrap();
        assert_eq!(told.recv().await.unwrap().unwrap_err().class(), Class::NotFound);
        assert!(told.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_interest_in_the_pull() {
        let (_board, mut end, told) = under_way();
        drop(told);
        end.closed().await;
    }
}
