//! How the API itself fails on purpose.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use serde::{Deserialize, Serialize};

/// What happens to the next writes. By default nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriteFaults {
    /// So many POST requests below `/v1` fail; then all is well again. Answers that are saved under an idempotency
    /// key are still repeated meanwhile.
    pub writes: u32,
    pub fault: WriteFault,
    /// Only requests whose path begins like this, such as `/v1/refunds`.
    pub path: Option<String>,
}

/// How a write fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteFault {
    /// Nothing is done, and the answer is a 500, which is saved under the idempotency key.
    #[default]
    StoredError,
    /// It is done and saved, but the connection closes without an answer.
    LostAnswer,
    /// Nothing is done, and no answer comes for as long as the caller waits.
    NoAnswer,
}

/// The faults that are still to come.
#[derive(Default)]
pub(crate) struct Faults(Mutex<WriteFaults>);

impl Faults {
    pub(crate) fn set(&self, faults: WriteFaults) {
        *self.lock() = faults;
    }

    /// What is left.
    pub(crate) fn get(&self) -> WriteFaults {
        self.lock().clone()
    }

    /// The fault of the next write to this path.
    pub(crate) fn draw(&self, path: &str) -> Option<WriteFault> {
        let mut faults = self.lock();
        if faults.path.as_ref().is_some_and(|prefix| !path.starts_with(prefix)) {
            return None;
        }
        faults.writes = faults.writes.checked_sub(1)?;
        Some(faults.fault)
    }

    fn lock(&self) -> MutexGuard<'_, WriteFaults> {
        self.0.lock().expect("no holder panics")
    }
}

/// A response of which nothing arrives: the server closes the connection when it comes to the body, which is before it
/// has sent the head.
pub(crate) fn hang_up() -> Response {
    Response::new(Body::new(Broken))
}

struct Broken;

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_used_up_by_the_writes_that_they_are_for() {
        let faults = Faults::default();
        assert_eq!(faults.draw("/v1/refunds"), None);
        let path = Some("/v1/refunds".to_owned());
        faults.set(WriteFaults { writes: 2, fault: WriteFault::LostAnswer, path });
        assert_eq!(faults.draw("/v1/payment_intents"), None);
        assert_eq!(faults.draw("/v1/refunds"), Some(WriteFault::LostAnswer));
        assert_eq!(faults.get().writes, 1);
        assert_eq!(faults.draw("/v1/refunds/re_1/cancel"), Some(WriteFault::LostAnswer));
        assert_eq!(faults.draw("/v1/refunds"), None);
    }
}
