//! What can be wrong with a key.

use std::time::Duration;

use quire_fault::{Fault, Kind, Violation};
use sea_orm::DbErr;

#[derive(Debug, thiserror::Error)]
pub enum IdempotencyError {
    #[error("the idempotency key is not acceptable")]
    Key(Violation),
    #[error("the first request with this idempotency key is still running")]
    InUse { retry_after: Duration },
    #[error("this idempotency key was used with another request")]
    OtherRequest,
    #[error("the request under the idempotency key broke")]
    Broken,
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl From<IdempotencyError> for Fault {
    fn from(error: IdempotencyError) -> Self {
        let message = error.to_string();
        match error {
            IdempotencyError::Key(violation) => Self::invalid(vec![violation]),
            IdempotencyError::InUse { retry_after } => {
                Self::new(Kind::Conflict, "IDEMPOTENCY_KEY_IN_USE", message).with_retry_after(retry_after)
            }
            IdempotencyError::OtherRequest => {
                let violation = Violation::new("idempotency_key", quire_fault::Rule::Value(message));
                Self { reason: "IDEMPOTENCY_KEY_REUSED".into(), ..Self::invalid(vec![violation]) }
            }
            IdempotencyError::Broken | IdempotencyError::Database(_) => {
                tracing::error!(error = message, "idempotency keys failed");
                Self::internal()
            }
        }
    }
}
