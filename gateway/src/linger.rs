//! Bodies that are refused before they were read: the rest is still taken off the connection for a while.
//!
//! A server that answers early and closes a connection on which bytes are waiting makes the system reset it, and
//! the reset can overtake the answer: the client then sees a broken connection in place of the 413. nginx calls
//! the remedy "lingering close".

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;

/// A client that is still sending after this may miss the answer.
const LINGER: Duration = Duration::from_secs(5);

/// The same body, but what is left of it when it is dropped is read and thrown away.
pub(crate) fn lingering(body: Body, headers: &HeaderMap) -> Body {
    if body.is_end_stream() {
        return body;
    }
    // Whoever waits for "100 Continue" has sent nothing yet, and reading would ask for it.
    let wanted = !headers.contains_key(EXPECT);
    Body::new(Lingering { body, wanted })
}

struct Lingering {
    body: Body,
    /// Whether the client sends, or was asked to.
    wanted: bool,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.wanted = true;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if !self.wanted || self.body.is_end_stream() {
            return;
        }
        let mut rest = std::mem::take(&mut self.body);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER, async move {
                while let Some(Ok(_)) = rest.frame().await {}
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    /// A body of pieces that are sent one by one.
    fn piecewise() -> (mpsc::Sender<Bytes>, Body) {
        let (send, receive) = mpsc::channel(1);
        (send, Body::from_stream(ReceiverStream::new(receive).map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn what_is_left_is_read_to_its_end() {
        let (send, body) = piecewise();
        drop(lingering(body, &HeaderMap::new()));
        for _ in 0..100 {
            send.send(Bytes::from_static(b"paper")).await.unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_is_asked_to_go_on_with_a_refused_body() {
        let (send, body) = piecewise();
        let headers = HeaderMap::from_iter([(EXPECT, "100-continue".parse().unwrap())]);
        drop(lingering(body, &headers));
        assert!(send.send(Bytes::new()).await.is_err());
    }

    #[tokio::test]
    async fn a_body_that_is_read_is_the_same() {
        let body = lingering(Body::from("paper"), &HeaderMap::new());
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "paper");
    }
}
