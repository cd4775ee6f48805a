//! Calls to other services: one way to connect, one way to send.

use std::time::Duration;

use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::call;

/// Bytes of one stream that may be on their way to a reader who does not take them.
const STREAM_WINDOW: u32 = 128 << 10;
/// The same of all streams of a connection: more than all that a server lets be open can hold. Else a few readers who do
/// not read would use it up, and everybody else's calls on that connection would stand still (RFC 9113, 5.2).
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

#[derive(Debug, thiserror::Error)]
#[error("{address} is not an address of a service: expected http://host:port")]
pub struct AddressError {
    address: String,
}

/// A connection to a service. It is made at the first call and again whenever it breaks; keepalive finds out
/// within 15 seconds that the other side is gone without a word.
///
/// # Errors
/// The address is not a URL.
pub fn channel(url: &str) -> Result<Channel, AddressError> {
    let endpoint = Endpoint::from_shared(url.to_owned());
    let endpoint = endpoint.map_err(|_| AddressError { address: url.to_owned() })?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(3))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_lazy())
}

/// A request with a deadline that the other side is told, and the request id and trace of the present call.
pub fn outgoing<T>(message: T, deadline: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(deadline);
    decorate(&mut request);
    request
}

/// The same for a stream that may live as long as it likes.
pub fn outgoing_stream<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    decorate(&mut request);
    request
}

fn decorate<T>(request: &mut tonic::Request<T>) {
    let mut set = |key: &'static str, value: String| {
        let value: Result<AsciiMetadataValue, _> = MetadataValue::try_from(value);
        if let Ok(value) = value {
            request.metadata_mut().insert(key, value);
        }
    };
    let request_id = call::request_id();
    if !request_id.is_empty() {
        set(call::REQUEST_ID, request_id);
    }
    if let Some(trace_parent) = call::trace_parent() {
        set(call::TRACE_PARENT, trace_parent);
    }
}
