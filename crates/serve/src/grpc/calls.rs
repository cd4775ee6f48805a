//! What is counted of gRPC calls.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::Code;

use crate::metrics::{Counters, Durations, Scope};

/// Of a method that no service has: what a client makes up must not become a label.
const OTHER: (&str, &str) = ("other", "other");

/// The calls of one server.
pub(crate) struct Calls {
    /// Path to service and method.
    methods: HashMap<String, (String, String)>,
    calls: Counters<3>,
    durations: Durations<2>,
}

impl Calls {
    /// `services`: full names, such as `quire.auth.v1.AuthService`.
    pub(crate) fn new(scope: &Scope, services: &[&str]) -> Self {
        Self {
            methods: methods(services),
            calls: scope.counters(
                "grpc_calls",
                "gRPC calls by service, method and code; a stream counts when it opens",
                ["service", "method", "code"],
            ),
            durations: scope.durations(
                "grpc_call_duration_seconds",
                "Time to the answer, or to the opening of a stream",
                ["service", "method"],
            ),
        }
    }

    /// A call has begun.
    pub(crate) fn begin(self: &Arc<Self>, path: &str) -> UnderWay {
        UnderWay {
            calls: self.clone(),
            path: path.to_owned(),
            // A deadline that passes, and a caller that goes away, drop the call.
            code: Code::Cancelled,
            begun_at: Instant::now(),
        }
    }
}

/// A call under way; counted when it is dropped.
pub(crate) struct UnderWay {
    calls: Arc<Calls>,
    path: String,
    code: Code,
    begun_at: Instant,
}

impl UnderWay {
    /// `status`: the header `grpc-status`, which only failures have.
    pub(crate) fn answered(mut self, status: Option<&str>) {
        self.code = status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let known = self.calls.methods.get(&self.path);
        let (service, method) = known.map_or(OTHER, |(service, method)| (service.as_str(), method.as_str()));
        self.calls.calls.count([service, method, &format!("{:?}", self.code)]);
        self.calls.durations.observe([service, method], self.begun_at.elapsed());
    }
}

fn methods(services: &[&str]) -> HashMap<String, (String, String)> {
    let files = FileDescriptorSet::decode(quire_proto::FILE_DESCRIPTOR_SET).unwrap_or_default().file;
    let mut methods = HashMap::new();
    for file in &files {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            if services.contains(&name.as_str()) {
                let of_it = service.method.iter().map(|method| method.name());
                let of_it =
                    of_it.map(|method| (format!("/{name}/{method}"), (name.clone(), method.to_owned())));
                methods.extend(of_it);
            }
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const AUTH: &str = "quire.auth.v1.AuthService";

    #[test]
    fn calls_are_counted_by_method_and_code_and_made_up_ones_share_one_line() {
        let metrics = Metrics::default();
        let calls = Arc::new(Calls::new(&metrics.scope("auth"), &[AUTH]));
        let path = format!("/{AUTH}/RefreshSession");
        calls.begin(&path).answered(None);
        calls.begin(&path).answered(Some("16"));
        drop(calls.begin(&path));
        for number in 0..100 {
            calls.begin(&format!("/{AUTH}/Made{number}Up")).answered(Some("12"));
        }
        let text = metrics.text().unwrap();
        for (method, code, count) in [
            ("RefreshSession", "Ok", 1),
            ("RefreshSession", "Unauthenticated", 1),
            ("RefreshSession", "Cancelled", 1),
        ] {
            let line = format!(
                "quire_auth_grpc_calls_total{{service=\"{AUTH}\",method=\"{method}\",code=\"{code}\"}} {count}\n"
            );
            assert!(text.contains(&line), "{line}{text}");
        }
        let other =
            "quire_auth_grpc_calls_total{service=\"other\",method=\"other\",code=\"Unimplemented\"} 100\n";
        assert!(text.contains(other) && !text.contains("Made"), "{text}");
        assert!(text.contains("quire_auth_grpc_call_duration_seconds_count{service=\"other\""), "{text}");
    }
}
