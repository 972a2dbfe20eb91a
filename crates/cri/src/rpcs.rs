//! The services as tables: each RPC is a module with a function `answer`, or is not built yet.

/// Implements a service of the generated code for [`Edge`](crate::Edge).
macro_rules! rpcs {
    (
        $service:ident;
        unary { $( $unary:ident($unary_request:ident) -> $unary_response:ident; )* }
        $( client_streaming { $( $sent:ident($sent_request:ident) -> $sent_response:ident; )* } )?
        streaming { $( $streaming:ident($streaming_request:ident) -> $stream:ident of $item:ident; )* }
        unimplemented { $( $missing:ident($missing_request:ident) -> $missing_response:ident, $missing_name:literal; )* }
        unimplemented_streaming {
            $( $absent:ident($absent_request:ident) -> $absent_stream:ident of $absent_item:ident, $absent_name:literal; )*
        }
    ) => {
        #[tonic::async_trait]
        impl $service for $crate::edge::Edge {
            $(
                async fn $unary(
                    &self,
                    request: tonic::Request<v1::$unary_request>,
                ) -> Result<tonic::Response<v1::$unary_response>, tonic::Status> {
                    let answer = $unary::answer(self, request.into_inner()).await;
                    answer.map(tonic::Response::new).map_err(|failure| $crate::status::from_failure(&failure))
                }
            )*
            $($(
                async fn $sent(
                    &self,
                    request: tonic::Request<tonic::Streaming<v1::$sent_request>>,
                ) -> Result<tonic::Response<v1::$sent_response>, tonic::Status> {
                    let answer = $sent::answer(self, request.into_inner()).await;
                    answer.map(tonic::Response::new).map_err(|failure| $crate::status::from_failure(&failure))
                }
            )*)?
            $(
                type $stream = $crate::batches::Batches<v1::$item>;

                async fn $streaming(
                    &self,
                    request: tonic::Request<v1::$streaming_request>,
                ) -> Result<tonic::Response<Self::$stream>, tonic::Status> {
                    let answer = $streaming::answer(self, request.into_inner()).await;
                    answer.map(tonic::Response::new).map_err(|failure| $crate::status::from_failure(&failure))
                }
            )*
            $(
                async fn $missing(
                    &self,
                    _request: tonic::Request<v1::$missing_request>,
                ) -> Result<tonic::Response<v1::$missing_response>, tonic::Status> {
                    Err($crate::status::unimplemented($missing_name))
                }
            )*
            $(
                type $absent_stream = $crate::batches::Batches<v1::$absent_item>;

                async fn $absent(
                    &self,
                    _request: tonic::Request<v1::$absent_request>,
                ) -> Result<tonic::Response<Self::$absent_stream>, tonic::Status> {
                    Err($crate::status::unimplemented($absent_name))
                }
            )*
        }
    };
}

pub(crate) use rpcs;
