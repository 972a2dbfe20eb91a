//! Lists on the wire: within one message, or as a stream of messages (KEP-5825).

use std::pin::Pin;

use cradle_domain::{Class, Failure};
use prost::Message;
use tokio_stream::Stream;
use tonic::Status;

use crate::limits::{MESSAGE_MAX_BYTES, STREAM_MESSAGE_BYTES};

/// What a `Stream*` RPC answers.
pub type Batches<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// The list as one message; an error that names `stream_rpc` if clients could not receive it.
pub fn within_limit<M: Message>(list: M, stream_rpc: &str) -> Result<M, Failure> {
    let length = list.encoded_len();
    if length <= MESSAGE_MAX_BYTES {
        return Ok(list);
    }
    let message = format!("the list takes {length} bytes, and a message may have {MESSAGE_MAX_BYTES}");
    Err(Failure::new(Class::Exhausted, message).with_hint(format!("Filter it, or ask with {stream_rpc}.")))
}

/// The list in messages of about [`STREAM_MESSAGE_BYTES`], each with at least one item. Items are printed as the client
/// takes the messages, so that a long list is never in memory as a whole.
pub fn stream<V, I, M>(views: Vec<V>, item: fn(&V) -> I, message: fn(Vec<I>) -> M) -> Batches<M>
where
    V: Send + 'static,
    I: Message + 'static,
    M: Send + 'static,
{
    let mut views = views.into_iter();
    Box::pin(tokio_stream::iter(std::iter::from_fn(move || {
        let mut items = Vec::new();
        let mut length = 0;
        while length < STREAM_MESSAGE_BYTES {
            let Some(view) = views.next() else { break };
            let next = item(&view);
            length += next.encoded_len();
            items.push(next);
        }
        (!items.is_empty()).then(|| Ok(message(items)))
    })))
}

#[cfg(test)]
mod tests {
    use cradle_cri_api::v1;
    use tokio_stream::StreamExt;

    use super::*;

    /// An image whose id tells its number and fills a third of a message.
    fn image(number: &usize) -> v1::Image {
        v1::Image { id: number.to_string().repeat(STREAM_MESSAGE_BYTES / 3), ..Default::default() }
    }

    fn message(images: Vec<v1::Image>) -> v1::StreamImagesResponse {
        v1::StreamImagesResponse { images }
    }

    #[tokio::test]
    async fn a_stream_has_each_item_once_and_no_empty_message() {
        let numbers: Vec<usize> = (0..10).collect();
        let messages: Vec<_> = stream(numbers.clone(), image, message).collect().await;
        assert!(messages.len() > 1, "{}", messages.len());
        let mut seen = Vec::new();
        for message in messages {
            let images = message.unwrap().images;
            assert!(!images.is_empty());
            seen.extend(images);
        }
        assert_eq!(seen, numbers.iter().map(image).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn an_empty_list_is_an_empty_stream() {
        assert_eq!(stream(Vec::new(), image, message).collect::<Vec<_>>().await.len(), 0);
    }

    #[test]
    fn a_list_that_no_client_could_receive_names_the_rpc_that_can_send_it() {
        let images = vec![v1::Image { id: "x".repeat(MESSAGE_MAX_BYTES), ..Default::default() }];
        let failure = within_limit(v1::ListImagesResponse { images }, "StreamImages").unwrap_err();
        assert_eq!(failure.class(), Class::Exhausted);
        assert!(failure.to_string().ends_with("(Filter it, or ask with StreamImages.)"), "{failure}");
        assert!(within_limit(v1::ListImagesResponse::default(), "StreamImages").is_ok());
    }
}
