//! The audit log: one row per attempt, whether it succeeded or not, in the transaction of the change it is about.
//! Holds ids and reasons, never tokens, links or codes.

mod chain;
mod query;
mod retention;
mod verify;

use quire_clock::Timestamp;
use quire_identity::Origin;

use crate::store::audit_event;

pub use chain::ChainKey;
pub use query::{AuditQuery, Page};
pub use retention::prune;
pub use verify::{AuditError, AuditReport, verify};

pub const LINK_REQUESTED: &str = "magic_link.requested";
pub const LINK_MAILED: &str = "magic_link.mailed";
pub const LINK_VERIFIED: &str = "magic_link.verified";
pub const REFRESHED: &str = "session.refreshed";
/// The token before the present one, again within the grace: two tabs, or an answer that got lost.
pub const REFRESH_GRACE: &str = "session.refresh_grace";
/// The token before the present one, after the grace, while nothing of its successor was seen: a lost answer.
pub const REFRESH_RETRIED: &str = "session.refresh_retried";
pub const REVOKED: &str = "session.revoked";
pub const RENAMED: &str = "session.renamed";
pub const LOGGED_OUT: &str = "session.logged_out";
pub const REUSE_MAILED: &str = "session.reuse_mailed";
pub const USER_BLOCKED: &str = "user.blocked";
pub const USER_UNBLOCKED: &str = "user.unblocked";
pub const KEY_CREATED: &str = "signing_key.created";
pub const KEY_ACTIVATED: &str = "signing_key.activated";
pub const KEY_RETIRED: &str = "signing_key.retired";
pub const KEY_REVOKED: &str = "signing_key.revoked";
pub const LOG_PRUNED: &str = "audit.pruned";

/// What was tried, and what is known of who tried it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempt<'a> {
    pub action: &'static str,
    pub user_id: &'a str,
    pub session_id: &'a str,
    /// Who did it, if not the user it is about.
    pub actor_id: &'a str,
}

/// A row that is not in the log yet.
pub(crate) fn event(
    id: String,
    at: Timestamp,
    origin: &Origin,
    attempt: Attempt<'_>,
    reason: &str,
) -> audit_event::Model {
    audit_event::Model {
        id,
        at: at.unix_micros(),
        action: attempt.action.to_owned(),
        outcome: if reason.is_empty() { "success" } else { "failure" }.to_owned(),
        reason: reason.to_owned(),
        user_id: attempt.user_id.to_owned(),
        session_id: attempt.session_id.to_owned(),
        client_address: origin.client_address.clone(),
        request_id: origin.request_id.clone(),
        seq: 0,
        actor_id: attempt.actor_id.to_owned(),
        hash: String::new(),
    }
}
