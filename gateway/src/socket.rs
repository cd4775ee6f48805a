//! Job events as WebSocket messages.
//!
//! Every event is a text message `{"seq", "kind", "data", "at"}`. The server closes with a code that says whether to
//! come back:
//!
//! | code | meaning |
//! |---|---|
//! | 1000 | the job has ended, and everything was told; the reason is `completed`, `failed` or `cancelled` |
//! | 1008 | the client sent what cannot be taken: no WebSocket, or a message that is too long |
//! | 1012 | the gateway restarts: come back with the last number |
//! | 1013 | the job service cannot be heard at present: come back with the last number |
//! | 4401, 4403 | the session has ended, the user is blocked; 4000 and the status of HTTP |
//! | 4408 | the client does not read, or does not answer a ping |

use std::fmt::Display;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message};
use futures::{Sink, SinkExt, Stream, StreamExt};
use quire_proto::job::v1 as pb;
use serde_json::json;
use tokio::time::timeout;

use crate::feed::{Feed, News, Over};
use crate::render;

/// Clients have nothing to say; what they send is read and thrown away.
pub(crate) const MAX_MESSAGE_BYTES: usize = 4096;

/// How long a client may keep the server waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A client that takes nothing for so long does not read.
    message: Duration,
    /// So long does it have to answer the close message.
    farewell: Duration,
}

pub(crate) const PATIENCE: Patience =
    Patience { message: Duration::from_secs(20), farewell: Duration::from_secs(2) };

const NORMAL: u16 = 1000;
const POLICY: u16 = 1008;
const RESTART: u16 = 1012;
const AGAIN_LATER: u16 = 1013;
/// Codes of applications begin there.
const OWN: u16 = 4000;
const TIMEOUT: u16 = OWN + 408;

/// Tells a client everything, and closes.
pub(crate) async fn tell<S, E>(mut feed: Feed, mut socket: S, patience: Patience)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message> + Unpin,
    E: Display,
{
    // Whether anything was heard of the client since the ping before.
    let mut alive = true;
    let goodbye = loop {
        let message = tokio::select! {
            frame = socket.next() => match frame {
                None | Some(Ok(Message::Close(_))) => return,
                Some(Ok(_)) => {
                    alive = true;
                    continue;
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a client's message cannot be taken");
                    break close(POLICY, format!("messages of at most {MAX_MESSAGE_BYTES} bytes are taken"));
                }
            },
            news = feed.next() => match news {
                News::Event(event) => Message::text(frame(&event)),
                News::Beat if alive => {
                    alive = false;
                    Message::Ping(Bytes::new())
                }
                News::Beat => break close(TIMEOUT, "no answer to a ping"),
                News::Over(over) => break farewell(&over),
            },
        };
        let sent = tokio::select! {
            biased;
            over = feed.barred() => break farewell(&over),
            sent = timeout(patience.message, socket.send(message)) => sent,
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => break close(TIMEOUT, "the events are not read"),
        }
    };
    let leave = async {
        if socket.send(goodbye).await.is_ok() {
            // Bytes that wait unread when a connection is closed make the system reset it, and the reset can overtake
            // the message.
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // Whoever is not heard of by then is left without a word.
    let _ = timeout(patience.farewell, leave).await;
}

fn frame(event: &pb::JobEvent) -> String {
    let data = render::job::data(event);
    json!({ "seq": event.seq, "kind": event.kind, "data": data, "at": render::time(event.at.as_ref()) })
        .to_string()
}

fn farewell(over: &Over) -> Message {
    match over {
        Over::Job(word) => close(NORMAL, *word),
        Over::Session(fault) => close(OWN + fault.kind.http().as_u16(), fault.reason.as_str()),
        Over::Shutdown => close(RESTART, "restarting: come back with the last number"),
        Over::Lost => close(AGAIN_LATER, "not heard at present: come back with the last number"),
    }
}

/// Reasons have at most 123 bytes.
fn close(code: u16, reason: impl Into<String>) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into().into() }))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures::channel::mpsc;
    use futures::stream;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::feed::tests::{NEVER, event, of};

    /// Of somebody in a hurry.
    const SOON: Duration = Duration::from_millis(5);

    /// The server's side of a connection in memory.
    struct Line {
        said: mpsc::UnboundedReceiver<Message>,
        /// Takes one message more than is read.
        heard: mpsc::Sender<Message>,
    }

    impl Stream for Line {
        type Item = Result<Message, Infallible>;

        fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.said.poll_next_unpin(context).map(|message| message.map(Ok))
        }
    }

    impl Sink<Message> for Line {
        type Error = mpsc::SendError;

        fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.heard.poll_ready_unpin(context)
        }

        fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
            self.heard.start_send(message)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.heard.poll_flush_unpin(context)
        }

        fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.heard.poll_close_unpin(context)
        }
    }

    /// What the client says and hears, and the line to it.
    fn line() -> (mpsc::UnboundedSender<Message>, mpsc::Receiver<Message>, Line) {
        let (say, said) = mpsc::unbounded();
        let (heard, hear) = mpsc::channel(0);
        (say, hear, Line { said, heard })
    }

    fn code(message: Option<Message>) -> Option<u16> {
        match message {
            Some(Message::Close(Some(frame))) => Some(frame.code),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_let_go() {
        let (_say, mut hear, line) = line();
        let events = stream::iter((1..=9).map(|seq| event(seq, "text"))).chain(stream::pending());
        let hurry = Patience { message: SOON, farewell: SOON };
        tell(of(events, CancellationToken::new(), NEVER), line, hurry).await;
        let mut taken = 0;
        while let Some(message) = hear.next().await {
            assert!(matches!(message, Message::Text(_)));
            taken += 1;
        }
        assert!(taken < 9, "the line takes all of them: nothing was shown");
    }

    #[tokio::test]
    async fn a_client_that_answers_no_ping_is_let_go() {
        let (say, mut hear, line) = line();
        let feed = of(stream::pending(), CancellationToken::new(), SOON);
        let told = tokio::spawn(tell(feed, line, Patience { message: NEVER, farewell: NEVER }));
        assert!(matches!(hear.next().await, Some(Message::Ping(_))));
        assert_eq!(code(hear.next().await), Some(TIMEOUT));
        drop(say);
        told.await.unwrap();
    }

    #[tokio::test]
    async fn a_shutdown_does_not_wait_for_a_client_that_does_not_read() {
        let (_say, _hear, line) = line();
        let shutdown = CancellationToken::new();
        let events = stream::iter((1..=9).map(|seq| event(seq, "text"))).chain(stream::pending());
        let patience = Patience { message: NEVER, farewell: SOON };
        let told = tokio::spawn(tell(of(events, shutdown.clone(), NEVER), line, patience));
        // It waits for the client now.
        tokio::task::yield_now().await;
        shutdown.cancel();
        told.await.unwrap();
    }

    #[test]
    fn every_reason_fits_into_its_frame() {
        let faults = [Over::Job("completed"), Over::Shutdown, Over::Lost];
        for message in faults.iter().map(farewell) {
            let Message::Close(Some(frame)) = message else { panic!("it closes") };
            assert!(frame.reason.len() <= 123);
        }
    }
}
