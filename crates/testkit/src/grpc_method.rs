//! One method of a gRPC service that is played: the others are not there.

use std::future::Future;

use axum::routing::{MethodRouter, post};
use tonic::{Request, Response, Status};

/// A route that answers one unary method, at the path `/<package>.<Service>/<Method>`.
pub fn unary<Req, Res, F, Fut>(handler: F) -> MethodRouter
where
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
    F: Fn(Request<Req>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
{
    post(move |request: axum::extract::Request| {
        let service = tower::service_fn(handler.clone());
        async move {
            let codec = tonic_prost::ProstCodec::<Res, Req>::default();
            tonic::server::Grpc::new(codec).unary(service, request).await
        }
    })
}
