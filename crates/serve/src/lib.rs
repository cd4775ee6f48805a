//! Telemetry, metrics, health, reflection, deadlines and drain: every process starts through it.
//!
//! A service hands over its tonic service and a readiness check; what every server needs is added here once,
//! so that it cannot be forgotten: grpc.health.v1 (NOT_SERVING until ready), reflection v1 and v1alpha,
//! trace context, request ids, a deadline, panics as INTERNAL, keepalive, and a drain that always ends.

pub mod call;
pub mod client;
pub mod grpc;
mod health;
pub mod http;
pub mod metrics;
pub mod settings;
pub mod telemetry;

/// Chooses the one TLS provider of the process. Call it first thing: two providers in one build panic at the
/// first handshake otherwise.
pub fn install_tls_provider() {
    // An error means that it is installed already, as in tests.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
