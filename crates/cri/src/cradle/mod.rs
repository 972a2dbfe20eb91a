//! Our own service, `cradle.v1.Cradle`, beside the CRI on the same socket: what the CRI has no words for.

mod describe_image;
mod explain_container;
mod explain_reference;
mod list_image_usage;
mod load;
mod progress;
mod pull;
mod save;

use cradle_cri_api::cradle_v1 as v1;
use cradle_cri_api::cradle_v1::cradle_server::Cradle;

crate::rpcs::rpcs! {
    Cradle;
    unary {
        explain_reference(ExplainReferenceRequest) -> ExplainReferenceResponse;
        explain_container(ExplainContainerRequest) -> ExplainContainerResponse;
        describe_image(DescribeImageRequest) -> DescribeImageResponse;
        list_image_usage(ListImageUsageRequest) -> ListImageUsageResponse;
    }
    client_streaming {
        load(LoadRequest) -> LoadResponse;
    }
    streaming {
        pull(PullRequest) -> PullStream of PullProgress;
        save(SaveRequest) -> SaveStream of SaveResponse;
    }
    unimplemented {}
    unimplemented_streaming {}
}
