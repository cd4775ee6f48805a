//! Logs on the console, and traces by OTLP when an endpoint is set.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::settings::Settings;

/// How logs look and where traces go.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// A filter such as `info` or `quire_payment=debug,info`.
    pub filter: String,
    pub json: bool,
    /// Base address of an OTLP/HTTP collector.
    pub otlp_endpoint: Option<String>,
    pub service_name: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the exporter of traces cannot be made")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    #[error("logging is set up already")]
    Twice,
}

/// Flushes traces when dropped.
pub struct TelemetryGuard(Option<SdkTracerProvider>);

impl TelemetryConfig {
    /// `QUIRE_LOG`, `QUIRE_LOG_FORMAT`, `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`.
    pub fn read(settings: &mut Settings, service_name: &str) -> Self {
        let default = if settings.production() { "json" } else { "pretty" };
        let filter = settings.text("QUIRE_LOG", "info");
        if EnvFilter::try_new(&filter).is_err() {
            settings.problem(format!(
                "QUIRE_LOG is `{filter}`: a filter such as `info` or `quire_payment=debug,info` is accepted"
            ));
        }
        Self {
            filter,
            json: settings.choice("QUIRE_LOG_FORMAT", default, &["json", "pretty"]) == "json",
            otlp_endpoint: settings.optional("OTEL_EXPORTER_OTLP_ENDPOINT"),
            service_name: settings.text("OTEL_SERVICE_NAME", service_name),
        }
    }
}

/// Sets up the process's logs and traces; for the binary only. Logs go to standard error, so that standard
/// output is free for what a command answers.
///
/// # Errors
/// The collector's address is not usable, or it was called before.
pub fn init(config: &TelemetryConfig) -> Result<TelemetryGuard, TelemetryError> {
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let console = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let console = if config.json {
        console.json().flatten_event(true).with_current_span(true).with_span_list(true).boxed()
    } else {
        console.compact().with_target(false).boxed()
    };
    let provider = config.otlp_endpoint.as_deref().map(|endpoint| exporter(endpoint, config)).transpose()?;
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("quire")));
    tracing_subscriber::registry()
        .with(filter)
        .with(traces)
        .with(console)
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    Ok(TelemetryGuard(provider))
}

fn exporter(endpoint: &str, config: &TelemetryConfig) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(Duration::from_secs(5))
        .build()
        .map_err(TelemetryError::Exporter)?;
    let resource = Resource::builder().with_service_name(config.service_name.clone()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            // Exporting may hang on a machine with one core or a dead collector: the process must still end.
            let flush = std::thread::spawn(move || provider.shutdown_with_timeout(Duration::from_secs(3)));
            let deadline = std::time::Instant::now() + Duration::from_secs(4);
            while !flush.is_finished() && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
