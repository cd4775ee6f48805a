//! Confirmations: which generation of a session its owner has certainly received.

use async_trait::async_trait;
use quire_fault::{Rule, Violation};
use sea_orm::DbErr;

use super::Sessions;
use crate::change::{Change, Step};
use crate::error::AuthError;
use crate::store::{self, session};

/// More in one call are refused.
const MOST: usize = 1000;

impl Sessions {
    /// Notes generations whose access tokens were seen, as session id and generation.
    ///
    /// # Errors
    /// Too many at once, or the database refused.
    pub async fn confirm(&self, seen: Vec<(String, i64)>) -> Result<(), AuthError> {
        if seen.len() > MOST {
            return Err(AuthError::Invalid(vec![Violation::new("seen", Rule::TooLong(MOST as i64))]));
        }
        if !seen.is_empty() {
            self.writer.commit(Confirm(seen)).await?;
        }
        Ok(())
    }

    /// As [`Self::confirm`] for a session that was just read; its caller is answered whatever comes of it.
    pub(super) async fn confirm_seen(&self, session: &session::Model, generation: i64) {
        if generation <= session.confirmed_generation || generation > session.generation {
            return;
        }
        if let Err(error) = self.confirm(vec![(session.id.clone(), generation)]).await {
            quire_fault::log_internal("auth", &error);
        }
    }
}

struct Confirm(Vec<(String, i64)>);

#[async_trait]
impl Change for Confirm {
    type Outcome = ();

    async fn apply(&self, step: &mut Step<'_>) -> Result<(), DbErr> {
        for (id, generation) in &self.0 {
            // An id that PostgreSQL would refuse belongs to no session, and must not spoil the others.
            if !id.contains('\0') {
                store::confirm_generation(step.connection, id, *generation).await?;
            }
        }
        Ok(())
    }
}
