//! What belongs to one call and follows it through every process: its request id and its trace context.

use std::future::Future;
use std::sync::Arc;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Header and metadata key of the request id.
pub const REQUEST_ID: &str = "x-request-id";
/// Header and metadata key of the W3C trace context.
pub const TRACE_PARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Arc<Call>;
}

/// The request id and the trace context as they came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    pub request_id: String,
    /// As received, so that it is handed on also by a process that exports no traces.
    pub trace_parent: Option<String>,
}

impl Call {
    /// Reads both headers. A request id that is missing, too long or not printable is replaced by `fresh`.
    pub fn from_headers(headers: &http::HeaderMap, fresh: impl FnOnce() -> String) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let usable = |id: &&str| {
            (1..=128).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
        };
        Self {
            request_id: text(REQUEST_ID).filter(usable).map_or_else(fresh, str::to_owned),
            trace_parent: text(TRACE_PARENT).filter(|value| value.len() <= 128).map(str::to_owned),
        }
    }

    /// Runs a future as part of this call.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(Arc::new(self), future)
    }

    /// Makes `span` a child of the trace that the call came with.
    pub fn adopt(&self, span: &tracing::Span) {
        if let Some(trace_parent) = &self.trace_parent {
            let parent = TraceContextPropagator::new().extract(&OneHeader(trace_parent));
            // Fails only when no exporter is set up, and then there is no trace to join.
            let _ = span.set_parent(parent);
        }
    }
}

/// The call that the present task works for, if any.
pub fn current() -> Option<Arc<Call>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// The request id of the present call; empty outside one.
pub fn request_id() -> String {
    current().map(|call| call.request_id.clone()).unwrap_or_default()
}

/// The W3C `traceparent` to send on: of the present span when traces are exported, else as received.
pub fn trace_parent() -> Option<String> {
    let context = tracing::Span::current().context();
    if context.span().span_context().is_valid() {
        let mut header = Collected::default();
        TraceContextPropagator::new().inject_context(&context, &mut header);
        if header.0.is_some() {
            return header.0;
        }
    }
    current().and_then(|call| call.trace_parent.clone())
}

struct OneHeader<'a>(&'a str);

impl Extractor for OneHeader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACE_PARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACE_PARENT]
    }
}

#[derive(Default)]
struct Collected(Option<String>);

impl Injector for Collected {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACE_PARENT {
            self.0 = Some(value);
        }
    }
}
