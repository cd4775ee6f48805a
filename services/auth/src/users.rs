//! Users as operators see them: list, block, unblock.

use async_trait::async_trait;
use quire_database::Database;
use quire_identity::{Origin, UserCaller};
use sea_orm::DbErr;

use crate::audit::{self, Attempt};
use crate::change::{Change, Step, Writer};
use crate::email::Email;
use crate::error::AuthError;
use crate::page;
use crate::sessions::{Reason, revoke_all};
use crate::store::{self, user};

pub struct Users {
    pub database: Database,
    pub writer: Writer,
}

impl Users {
    /// Users newest first, and the token of the next page; empty at the end. `email`: only the one with that address.
    ///
    /// # Errors
    /// The size, the page token or the address is not accepted, or the database is gone.
    pub async fn list(
        &self,
        size: i32,
        token: &str,
        email: &str,
    ) -> Result<(Vec<user::Model>, String), AuthError> {
        if let Some(violation) = page::violation(size) {
            return Err(AuthError::Invalid(vec![violation]));
        }
        let reader = self.database.reader();
        if !email.is_empty() {
            let email = Email::parse(email).map_err(AuthError::Email)?;
            let found = store::user_by_email(reader, email.as_str()).await?;
            return Ok((found.into_iter().collect(), String::new()));
        }
        let before = match token {
            "" => None,
            token => Some(page::decode(token).ok_or(AuthError::PageToken)?),
        };
        let size = page::size(size);
        let mut users = store::users(reader, before.as_deref(), size + 1).await?;
        let more = page::cut(&mut users, size);
        let next = users.last().filter(|_| more).map(|user| page::encode(&user.id)).unwrap_or_default();
        Ok((users, next))
    }

    /// Ends every session of a user and refuses new ones, or takes that back. Doing it twice is no error.
    ///
    /// # Errors
    /// `UserNotFound`; `SelfBlock` for the operator's own account.
    pub async fn set_blocked(
        &self,
        operator: &UserCaller,
        user_id: &str,
        blocked: bool,
        origin: &Origin,
    ) -> Result<user::Model, AuthError> {
        if user_id.contains('\0') {
            return Err(AuthError::UserNotFound);
        }
        if blocked && user_id == operator.user_id {
            return Err(AuthError::SelfBlock);
        }
        let change = SetBlocked {
            user_id: user_id.to_owned(),
            blocked,
            operator_id: operator.user_id.clone(),
            origin: origin.clone(),
        };
        self.writer.commit(change).await?.ok_or(AuthError::UserNotFound)
    }
}

struct SetBlocked {
    user_id: String,
    blocked: bool,
    operator_id: String,
    origin: Origin,
}

#[async_trait]
impl Change for SetBlocked {
    type Outcome = Option<user::Model>;

    async fn apply(&self, step: &mut Step<'_>) -> Result<Option<user::Model>, DbErr> {
        let at = self.blocked.then_some(step.now);
        let changed = store::set_blocked(step.connection, &self.user_id, at, step.next_seq()).await?;
        let Some(user) = changed else {
            return store::user_by_id(step.connection, &self.user_id).await;
        };
        let action = if self.blocked { audit::USER_BLOCKED } else { audit::USER_UNBLOCKED };
        let attempt =
            Attempt { action, user_id: &self.user_id, actor_id: &self.operator_id, ..Attempt::default() };
        step.record(&self.origin, attempt, "");
        step.announce();
        if self.blocked {
            let (reason, actor) = (Reason::Blocked, &self.operator_id);
            revoke_all(step, &self.user_id, reason, actor, &self.origin).await?;
        }
        Ok(Some(user))
    }
}
