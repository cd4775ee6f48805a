//! The layer around every gRPC call: request id, trace context, one log line, one count.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderValue;
use quire_clock::World;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument;

use super::calls::Calls;
use crate::call::{self, Call};

#[derive(Clone)]
pub(crate) struct CallLayer {
    service: &'static str,
    world: World,
    calls: Arc<Calls>,
}

impl CallLayer {
    pub(crate) fn new(service: &'static str, world: World, calls: Calls) -> Self {
        Self { service, world, calls: Arc::new(calls) }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct CallService<S> {
    inner: S,
    layer: CallLayer,
}

impl<S, B> Service<http::Request<Body>> for CallService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The clone takes the readiness that was polled; the one left behind is polled again.
        let inner = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, inner);
        let method = request.uri().path().to_owned();
        if method.starts_with("/grpc.") {
            return Box::pin(inner.call(request));
        }
        let call = Call::from_headers(request.headers(), || self.layer.world.id());
        if let Ok(value) = HeaderValue::from_str(&call.request_id) {
            request.headers_mut().insert(call::REQUEST_ID, value);
        }
        let span = tracing::info_span!(
            "rpc",
            otel.name = %method,
            otel.kind = "server",
            service = self.layer.service,
            method,
            request_id = %call.request_id,
        );
        call.adopt(&span);
        let counted = self.layer.calls.begin(request.uri().path());
        let started = self.layer.world.now();
        let world = self.layer.world.clone();
        let work = async move {
            let answer = inner.call(request).await;
            let millis = world.now().since(started).as_millis();
            if let Ok(answer) = &answer {
                let status = answer.headers().get("grpc-status").and_then(|value| value.to_str().ok());
                tracing::info!(grpc_status = status.unwrap_or("0"), millis, "answered");
                counted.answered(status);
            }
            answer
        };
        Box::pin(call.scope(work.instrument(span)))
    }
}

/// A panic in a handler is INTERNAL for its caller, and nothing for everybody else.
pub(crate) fn panic_answer(_panic: Box<dyn Any + Send + 'static>) -> http::Response<Body> {
    tracing::error!("a handler panicked");
    tonic::Status::internal("internal error").into_http()
}
