//! Load: the images of an archive that the client sends.

use cradle_cri_api::cradle_v1 as v1;
use cradle_domain::{Class, Failure};
use cradle_engine::ports::{Act, ByteStream, LoadedImage};
use tokio::time::timeout;
use tonic::Streaming;

use crate::edge::Edge;
use crate::limits::ARCHIVE_PIECE_WITHIN;

pub async fn answer(edge: &Edge, archive: Streaming<v1::LoadRequest>) -> Result<v1::LoadResponse, Failure> {
    let images = edge.images.clone();
    let archive = Box::new(Received(archive));
    let loaded = edge.act_while_asked(async move { images.load(archive).await }).await?;
    Ok(v1::LoadResponse { images: loaded.iter().map(to_proto).collect() })
}

fn to_proto(image: &LoadedImage) -> v1::LoadedImage {
    v1::LoadedImage { id: image.id.to_string(), names: image.names.iter().map(ToString::to_string).collect() }
}

/// What the client sends, as the store reads it. One that breaks off is no end.
struct Received(Streaming<v1::LoadRequest>);

impl ByteStream for Received {
    fn next(&mut self) -> Act<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            match timeout(ARCHIVE_PIECE_WITHIN, self.0.message()).await {
                Ok(Ok(message)) => Ok(message.map(|message| message.data)),
                Ok(Err(status)) => {
                    Err(Failure::new(Class::Unavailable, format!("the client broke off: {}", status.message())))
                }
                Err(_late) => Err(Failure::new(
                    Class::Deadline,
                    format!("the client has sent nothing for {} s", ARCHIVE_PIECE_WITHIN.as_secs()),
                )),
            }
        })
    }
}
