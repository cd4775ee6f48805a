//! What callers of the payment service can tell apart, and its one mapping to a fault.

use std::time::Duration;

use quire_fault::{Fault, Kind, Violation, log_internal};
use quire_idempotency::IdempotencyError;
use sea_orm::DbErr;

use crate::provider::ProviderError;
use crate::signature::SignatureError;

#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    #[error("the request breaks a rule")]
    Invalid(Vec<Violation>),
    #[error("the total is more than one payment can be")]
    TooExpensive,
    #[error("there is no such order")]
    OrderNotFound,
    #[error("the payment is not in the books")]
    PaymentNotFound,
    #[error("the payment was entered for another order at the same moment")]
    PaymentTaken,
    #[error("there is no such refund")]
    RefundNotFound,
    #[error("the refund was decided the other way already")]
    RefundDecided,
    #[error("the payment is disputed at the customer's bank: nothing is refunded until that is decided")]
    Disputed,
    #[error("only {left_minor} of the payment can still be refunded, in minor units of {currency}")]
    RefundTooLarge { left_minor: i64, currency: String },
    #[error("the order cannot be refunded: it is not paid, or its money is on its way back")]
    NotRefundable,
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError),
    #[error("the document is already paid")]
    AlreadyPaid,
    #[error("a payment of the document is being processed")]
    PaymentProcessing,
    #[error("a payment of the document is being examined")]
    Quarantined,
    #[error("the previous checkout of the document is being closed")]
    Closing,
    #[error("the order is not paid")]
    NotPaid,
    #[error("the order belongs to another job")]
    OtherJob,
    #[error("the webhook body has more than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the webhook body is not an event")]
    Payload,
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A fault of another service, handed on unchanged.
    #[error("{}", .0.message)]
    Peer(Fault),
    #[error("the payment provider failed")]
    Provider(#[from] ProviderError),
    #[error("the database failed")]
    Database(#[from] DbErr),
    #[error("a stored task cannot be read")]
    Task(#[source] serde_json::Error),
}

impl PaymentError {
    /// Whether the same may succeed later without anybody mending anything.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Database(error) => is_passing(error),
            Self::Peer(_) | Self::Provider(_) | Self::Closing => true,
            _ => false,
        }
    }
}

/// A lock or a connection that could not be had, or a transaction that lost against another.
fn is_passing(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        // A change under the lock of its order that met nothing: somebody else was first, by another way.
        DbErr::RecordNotUpdated => false,
        error => quire_database::is_transient(error),
    }
}

impl From<PaymentError> for Fault {
    fn from(error: PaymentError) -> Self {
        let message = error.to_string();
        match error {
            PaymentError::Invalid(violations) => Fault::invalid(violations),
            PaymentError::TooExpensive => Fault::new(Kind::Precondition, "AMOUNT_TOO_LARGE", message),
            PaymentError::OrderNotFound => Fault::new(Kind::NotFound, "ORDER_NOT_FOUND", message),
            PaymentError::PaymentNotFound => {
                tracing::error!("a payment that must be in the books is not");
                Fault::internal()
            }
            PaymentError::PaymentTaken => {
                tracing::error!("a payment is said to be for two orders");
                Fault::internal()
            }
            PaymentError::RefundNotFound => Fault::new(Kind::NotFound, "REFUND_NOT_FOUND", message),
            PaymentError::RefundDecided => Fault::new(Kind::Conflict, "REFUND_DECIDED", message),
            PaymentError::Disputed => Fault::new(Kind::Conflict, "PAYMENT_DISPUTED", message),
            PaymentError::RefundTooLarge { .. } => Fault::new(Kind::Conflict, "REFUND_TOO_LARGE", message),
            PaymentError::NotRefundable => Fault::new(Kind::Conflict, "ORDER_NOT_REFUNDABLE", message),
            PaymentError::Idempotency(IdempotencyError::Database(error)) => {
                PaymentError::Database(error).into()
            }
            PaymentError::Idempotency(error) => error.into(),
            PaymentError::AlreadyPaid => Fault::new(Kind::Conflict, "ALREADY_PAID", message),
            PaymentError::PaymentProcessing => Fault::new(Kind::Conflict, "PAYMENT_PROCESSING", message),
            PaymentError::Quarantined => Fault::new(Kind::Conflict, "PAYMENT_QUARANTINED", message),
            PaymentError::Closing => Fault::new(Kind::Unavailable, "CHECKOUT_CLOSING", message)
                .with_retry_after(Duration::from_secs(1)),
            PaymentError::NotPaid => Fault::new(Kind::Precondition, "ORDER_NOT_PAID", message),
            PaymentError::OtherJob => Fault::new(Kind::Precondition, "OTHER_JOB", message),
            PaymentError::BodyTooLarge { .. } => Fault::new(Kind::TooLarge, "WEBHOOK_TOO_LARGE", message),
            PaymentError::Payload => Fault::new(Kind::Malformed, "WEBHOOK_MALFORMED", message),
            PaymentError::Signature(signature) => Fault::new(Kind::Malformed, signature.reason(), message),
            PaymentError::Peer(fault) => fault,
            PaymentError::Provider(provider) if provider.retryable() => {
                tracing::warn!(error = %provider, "payment provider unavailable");
                Fault::new(Kind::Unavailable, "PROVIDER_UNAVAILABLE", "the payment provider does not answer")
                    .with_retry_after(Duration::from_secs(2))
            }
            PaymentError::Provider(provider) => {
                log_internal("payment", &provider);
                Fault::internal()
            }
            PaymentError::Database(database) => {
                log_internal("payment", &database);
                // A lock or a connection that could not be had is no lasting failure: the provider and the
                // customer may send the same again.
                if is_passing(&database) {
                    Fault::new(Kind::Unavailable, "DATABASE_UNAVAILABLE", "the database does not answer")
                        .with_retry_after(Duration::from_secs(1))
                } else {
                    Fault::internal()
                }
            }
            PaymentError::Task(cause) => {
                log_internal("payment", &cause);
                Fault::internal()
            }
        }
    }
}

impl From<PaymentError> for tonic::Status {
    fn from(error: PaymentError) -> Self {
        Fault::from(error).into()
    }
}
