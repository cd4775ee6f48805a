//! The audit log: one row per attempt, whether it succeeded or not, in the transaction of the change it is
//! about. Holds ids and reasons, never tokens or links.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quire_clock::World;
use quire_database::Database;
use quire_fault::Violation;
use quire_identity::Origin;
use sea_orm::{ConnectionTrait, DbErr};

use crate::error::AuthError;
use crate::store::{self, audit_event};

pub const LINK_REQUESTED: &str = "magic_link.requested";
pub const LINK_MAILED: &str = "magic_link.mailed";
pub const LINK_VERIFIED: &str = "magic_link.verified";
pub const REFRESHED: &str = "session.refreshed";
/// The token before the present one, again within the grace: two tabs, or an answer that got lost.
pub const REFRESH_GRACE: &str = "session.refresh_grace";
pub const REVOKED: &str = "session.revoked";
pub const LOGGED_OUT: &str = "session.logged_out";
pub const KEY_CREATED: &str = "signing_key.created";

const DEFAULT_PAGE: u64 = 50;
const MAX_PAGE: i64 = 200;

/// Writes audit rows.
#[derive(Clone)]
pub struct Audit {
    database: Database,
    world: World,
}

/// What was tried, and what is known of who tried it.
#[derive(Debug, Clone, Default)]
pub struct Attempt<'a> {
    pub action: &'static str,
    pub user_id: &'a str,
    pub session_id: &'a str,
}

/// One page of the log.
pub struct Page {
    pub events: Vec<audit_event::Model>,
    /// Empty at the end.
    pub next: String,
}

impl Audit {
    pub fn new(database: Database, world: World) -> Self {
        Self { database, world }
    }

    /// Adds a success inside the caller's transaction.
    pub async fn success(
        &self,
        connection: &impl ConnectionTrait,
        origin: &Origin,
        attempt: Attempt<'_>,
    ) -> Result<(), DbErr> {
        store::add_event(connection, self.event(origin, attempt, "")).await
    }

    /// Adds a failure inside the caller's transaction. `reason`: UPPER_SNAKE_CASE.
    pub async fn failure(
        &self,
        connection: &impl ConnectionTrait,
        origin: &Origin,
        attempt: Attempt<'_>,
        reason: &str,
    ) -> Result<(), DbErr> {
        store::add_event(connection, self.event(origin, attempt, reason)).await
    }

    /// Adds a failure that changed nothing else.
    pub async fn refused(&self, origin: &Origin, attempt: Attempt<'_>, reason: &str) -> Result<(), DbErr> {
        let transaction = self.database.begin_write().await?;
        self.failure(&transaction, origin, attempt, reason).await?;
        transaction.commit().await
    }

    /// Events newest first, of one user or, without one, of everybody. `size`: 0 means 50, at most 200.
    ///
    /// # Errors
    /// The size or the page token is not accepted, or the database is gone.
    pub async fn page(&self, user_id: Option<&str>, size: i32, token: &str) -> Result<Page, AuthError> {
        if let Some(violation) = Violation::range("page_size", i64::from(size), 0, MAX_PAGE) {
            return Err(AuthError::Invalid(vec![violation]));
        }
        let size = if size == 0 { DEFAULT_PAGE } else { u64::from(size.unsigned_abs()) };
        let before = if token.is_empty() { None } else { Some(decode(token).ok_or(AuthError::PageToken)?) };
        let mut events = store::events(self.database.reader(), user_id, before.as_ref(), size + 1).await?;
        let more = events.len() as u64 > size;
        events.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let next = events.last().filter(|_| more).map(encode).unwrap_or_default();
        Ok(Page { events, next })
    }

    fn event(&self, origin: &Origin, attempt: Attempt<'_>, reason: &str) -> audit_event::Model {
        audit_event::Model {
            id: self.world.id(),
            at: self.world.now().unix_micros(),
            action: attempt.action.to_owned(),
            outcome: if reason.is_empty() { "success" } else { "failure" }.to_owned(),
            reason: reason.to_owned(),
            user_id: attempt.user_id.to_owned(),
            session_id: attempt.session_id.to_owned(),
            client_address: origin.client_address.clone(),
            request_id: origin.request_id.clone(),
        }
    }
}

/// The place of an event in the order, as a page token.
fn encode(event: &audit_event::Model) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", event.at, event.id))
}

fn decode(token: &str) -> Option<(i64, String)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (at, id) = text.split_once('.')?;
    let at = at.parse().ok()?;
    // PostgreSQL refuses some texts, such as U+0000, instead of not finding them.
    let plain = id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    plain.then(|| (at, id.to_owned()))
}
