//! Job events over a WebSocket, read as a page reads them.

use futures::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::customer::{Customer, text};
use crate::sse::Event;

/// One connection.
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Follows the newest job of a document after a number. `None` if the gateway does not let us in at present.
    pub async fn open(customer: &Customer, document_id: &str, after: u64) -> Option<Self> {
        let address = customer.client.gateway.strip_prefix("http://").unwrap();
        let path = format!("/api/v1/jobs/ws/generation/{document_id}?after={after}");
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        let protocols = format!("quire.v1, bearer.{}", customer.access);
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        let stream = TcpStream::connect(address).await.ok()?;
        Some(Self(tokio_tungstenite::client_async(request, stream).await.ok()?.0))
    }

    /// The next event; at the end of the connection the code it was closed with, if any.
    pub async fn next(&mut self) -> Result<Event, Option<u16>> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(told))) => {
                    let told: Value = serde_json::from_str(&told).unwrap();
                    let id = told["seq"].as_u64().unwrap();
                    return Ok(Event { id, kind: text(&told["kind"]), data: told["data"].clone() });
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}
