//! Keys seen lately, such as delivered webhook events: a shortcut that spares the database a write. It may
//! forget; it must never be the only guard.

use std::sync::Arc;
use std::time::Duration;

use redis::{AsyncCommands, Client, SetExpiry, SetOptions};

use crate::link::{ANSWER, Link, LinkError};

/// Remembers keys for a while. Cheap to clone.
#[derive(Clone)]
pub enum SeenKeys {
    /// In Redis, shared by all replicas.
    Redis(SeenInRedis),
    /// Nowhere: no key was ever seen.
    None,
}

/// Keys kept in Redis.
#[derive(Clone)]
pub struct SeenInRedis(Arc<Link>);

impl SeenKeys {
    /// Remembers in Redis. Waits at most two seconds for it; until Redis answers, no key was ever seen.
    ///
    /// # Errors
    /// The address is not a Redis URL.
    pub async fn connect(redis_url: &str) -> Result<Self, LinkError> {
        let client = Client::open(redis_url).map_err(|_| LinkError)?;
        Ok(Self::Redis(SeenInRedis(Arc::new(Link::connect(client, "seen keys", ANSWER).await))))
    }

    /// Whether the key is known to have been seen. `false` also when Redis does not answer.
    pub async fn seen(&self, key: &str) -> bool {
        let Self::Redis(SeenInRedis(link)) = self else {
            return false;
        };
        let name = name(key);
        let ask =
            |mut connection: redis::aio::MultiplexedConnection| async move { connection.exists(name).await };
        link.ask(ask).await.unwrap_or(false)
    }

    /// Remembers the key for `ttl`, if Redis answers.
    pub async fn remember(&self, key: &str, ttl: Duration) {
        let Self::Redis(SeenInRedis(link)) = self else {
            return;
        };
        let name = name(key);
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let options = SetOptions::default().with_expiration(SetExpiry::PX(millis));
        let ask = |mut connection: redis::aio::MultiplexedConnection| async move {
            connection.set_options::<_, _, ()>(name, 1, options).await
        };
        link.ask(ask).await;
    }
}

fn name(key: &str) -> String {
    format!("quire:seen:{key}")
}
