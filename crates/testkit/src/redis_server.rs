//! Finds a Redis server.

use std::sync::OnceLock;

use crate::private::PrivateServer;

/// The address of a Redis server; `None`, with one line printed, where there is none. Tests share it, so their
/// keys must be their own.
pub fn redis() -> Option<&'static str> {
    static FOUND: OnceLock<Option<(String, Option<PrivateServer>)>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if let Ok(url) = std::env::var("QUIRE_TEST_REDIS_URL") {
            return Some((url, None));
        }
        if crate::private::answers(6379) {
            return Some(("redis://127.0.0.1:6379".to_owned(), None));
        }
        match PrivateServer::redis() {
            Ok((server, url)) => Some((url, Some(server))),
            Err(why) => {
                crate::skip("redis", &why);
                None
            }
        }
    });
    found.as_ref().map(|(url, _)| url.as_str())
}

/// A Redis server of the test's own, which it may empty and stop: dropping it stops it.
pub struct PrivateRedis {
    url: String,
    _server: PrivateServer,
}

impl PrivateRedis {
    /// `None`, with one line printed, where no server can be started.
    pub fn start() -> Option<Self> {
        match PrivateServer::redis() {
            Ok((server, url)) => Some(Self { url, _server: server }),
            Err(why) => {
                crate::skip("redis", &why);
                None
            }
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}
