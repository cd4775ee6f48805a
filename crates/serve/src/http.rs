//! The HTTP server of the gateway: an accept loop with the timers that `axum::serve` does not set.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder};

/// A client that has not sent its whole header by then is cut off (slowloris).
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of an answer for so long is let go, and what the answer held with it: a stream of events
/// must not be kept for somebody who does not read it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// After the shutdown, requests and open streams have this long to end.
const DRAIN: Duration = Duration::from_secs(8);
/// More connections wait in the backlog of the listener.
const MAX_CONNECTIONS: usize = 10_000;
/// So long does the loop pause when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The network address of the peer, as a request extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Serves HTTP/1.1 and HTTP/2 until the shutdown, and then at most eight seconds more for what is under way. A connection
/// that became something else, as a WebSocket does, is no longer its concern.
pub async fn serve<S, B>(listener: TcpListener, service: S, shutdown: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = shutdown.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers must not wait for a full segment. A socket that refuses is closed anyway.
        let _ = stream.set_nodelay(true);
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Peer(peer));
                request
            })
            .service(service.clone());
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(20)))
            .keep_alive_timeout(Duration::from_secs(10));
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let stream = TokioIo::new(Box::pin(stream));
        let connection = builder.serve_connection_with_upgrades(stream, TowerToHyperService::new(service));
        let connection = graceful.watch(connection.into_owned());
        // Ended ones are forgotten as new ones come; the rest is cut when the set is dropped, after the drain.
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("open connections were cut at the end of the drain");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Body, Bytes, Frame};
    use tokio::sync::oneshot;

    use super::*;

    /// More and more of it; tells when it is dropped.
    struct Endless {
        _dropped: oneshot::Sender<()>,
    }

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 65_536])))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Sent before anybody looks, so that no time passes until it is read.
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
        let (dropped, mut gone) = oneshot::channel();
        let dropped = Arc::new(std::sync::Mutex::new(Some(dropped)));
        let service = tower::service_fn(move |_: Request<Incoming>| {
            let dropped = dropped.lock().unwrap().take().unwrap();
            async move { Ok::<_, Infallible>(Response::new(Endless { _dropped: dropped })) }
        });
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, service, shutdown.clone()));
        let patience = tokio::time::timeout(WRITE_TIMEOUT * 10, &mut gone).await;
        patience.expect("it is let go").unwrap_err();
        shutdown.cancel();
        serving.await.unwrap();
        drop(client);
    }
}
