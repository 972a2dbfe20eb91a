//! Our own service, `cradle.v1.Cradle`, beside the CRI on the same socket: what the CRI has no words for.

mod explain_container;
mod explain_reference;
mod progress;
mod pull;

use cradle_cri_api::cradle_v1 as v1;
use cradle_cri_api::cradle_v1::cradle_server::Cradle;

crate::rpcs::rpcs! {
    Cradle;
    unary {
        explain_reference(ExplainReferenceRequest) -> ExplainReferenceResponse;
        explain_container(ExplainContainerRequest) -> ExplainContainerResponse;
    }
    streaming {
        pull(PullRequest) -> PullStream of PullProgress;
    }
    unimplemented {}
    unimplemented_streaming {}
}
