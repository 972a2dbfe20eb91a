//! ExplainReference: whom a pull would ask, in words.

use cradle_cri_api::cradle_v1 as v1;
use cradle_domain::Failure;

use crate::edge::Edge;
use crate::from_proto::{self, Field};

pub async fn answer(
    edge: &Edge,
    request: v1::ExplainReferenceRequest,
) -> Result<v1::ExplainReferenceResponse, Failure> {
    let wish = from_proto::wish(Field::root("reference"), request.reference, request.auth)?;
    let images = edge.images.clone();
    let explained = async move { images.explain(&wish.reference, wish.credentials.as_ref()).await };
    Ok(v1::ExplainReferenceResponse { text: edge.act_while_asked(explained).await? })
}
