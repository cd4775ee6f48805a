//! Mails that tell an owner that a refresh token came back and its session was ended.
//!
//! Unlike sign-in mails they must arrive even if the process dies or the mail server is down: nobody would ask for
//! them again. So they are an outbox: a row written in the transaction of what they tell, sent by a relay at least
//! once. The row holds no secret and no address; both the address and the text are made when the mail is sent. A
//! sign-in mail, whose link and code must not be stored, could not be kept that way.

mod relay;

use quire_identity::Origin;
use sea_orm::DbErr;

use crate::change::Step;
use crate::store::{self, alert, session};

pub use relay::Relay;

/// Writes an alert into the transaction that ends the session. `origin`: of the call that brought the token back.
pub async fn enqueue(step: &Step<'_>, session: &session::Model, origin: &Origin) -> Result<(), DbErr> {
    let row = alert::Model {
        id: step.world().id(),
        user_id: session.user_id.clone(),
        session_id: session.id.clone(),
        happened_at: step.now.unix_micros(),
        client_address: origin.client_address.clone(),
        user_agent: origin.user_agent.clone(),
        request_id: origin.request_id.clone(),
        attempts: 0,
        // Due at once.
        next_at: 0,
        lease_until: 0,
        lease_epoch: 0,
        last_error: String::new(),
        dead_at: None,
    };
    store::add_alert(step.connection, row).await
}
