//! The gRPC server that every service runs in.

mod calls;
mod layer;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quire_clock::World;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tower::Service;

use crate::health;
use crate::metrics::Metrics;

/// The longest a call may take to its answer's first byte. Callers set shorter deadlines of their own; uploads of
/// large files over slow lines need this one.
const DEADLINE: Duration = Duration::from_secs(900);
/// One gateway's event streams share a connection with its other calls.
const MAX_STREAMS: u32 = 10_000;
/// After the shutdown, calls and open streams have this long to end.
const DRAIN: Duration = Duration::from_secs(8);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the descriptors of the services do not fit together")]
    Reflection(#[source] tonic_reflection::server::Error),
    #[error("the server stopped")]
    Transport(#[source] tonic::transport::Error),
}

/// A server being put together.
pub struct Server {
    name: &'static str,
    world: World,
    listener: TcpListener,
    routes: Routes,
    names: Vec<&'static str>,
    check: health::Check,
    metrics: Metrics,
}

impl Server {
    /// `name` is what logs call it.
    pub fn new(name: &'static str, world: World, listener: TcpListener) -> Self {
        Self {
            name,
            world,
            listener,
            routes: Routes::default(),
            names: Vec::new(),
            check: Arc::new(|| Box::pin(async { Ok(()) })),
            metrics: Metrics::default(),
        }
    }

    /// Adds a service, its health entry and its reflection.
    #[expect(clippy::should_implement_trait, reason = "a builder's word, not arithmetic")]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }

    /// Decides SERVING or NOT_SERVING: asked five times a second until it is `Ok`, then every two seconds.
    pub fn ready<F, Fut>(mut self, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.check = Arc::new(move || Box::pin(check()));
        self
    }

    /// Counts calls there.
    pub fn metrics(self, metrics: &Metrics) -> Self {
        Self { metrics: metrics.clone(), ..self }
    }

    /// Serves until the shutdown, and then at most eight seconds more for what is under way.
    ///
    /// # Errors
    /// The listener breaks.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let reporter = health::reporter(&self.names).await;
        let health_server = tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(reporter.clone()),
        );
        let reflection = || {
            let mut builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(quire_proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health");
            for name in &self.names {
                builder = builder.with_service_name(*name);
            }
            builder
        };
        let routes = self
            .routes
            .add_service(health_server)
            .add_service(reflection().build_v1().map_err(ServeError::Reflection)?)
            .add_service(reflection().build_v1alpha().map_err(ServeError::Reflection)?);
        let calls = calls::Calls::new(&self.metrics.scope(self.name), &self.names);
        let keeper = health::keep(self.name, reporter, self.names, self.check, shutdown.clone());
        let keeper = tokio::spawn(keeper);

        let server = tonic::transport::Server::builder()
            .timeout(DEADLINE)
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .max_concurrent_streams(MAX_STREAMS)
            .layer(layer::CallLayer::new(self.name, self.world, calls))
            .layer(tower_http::catch_panic::CatchPanicLayer::custom(layer::panic_answer))
            .add_routes(routes)
            .serve_with_incoming_shutdown(
                // Set here: the server builder's own setting does nothing for a listener it did not open. Without it every
                // answer of two frames waits 40 ms for an acknowledgement.
                TcpIncoming::from(self.listener).with_nodelay(Some(true)),
                shutdown.clone().cancelled_owned(),
            );
        let hard_stop = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let outcome = tokio::select! {
            outcome = server => outcome.map_err(ServeError::Transport),
            () = hard_stop => {
                tracing::warn!(service = self.name, "open streams were cut at the end of the drain");
                Ok(())
            }
        };
        // The keeper ends by the same token; a server that broke by itself must not leave it running.
        keeper.abort();
        outcome
    }
}
