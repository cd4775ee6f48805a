//! What can go wrong, for a caller and inside an attempt.

use std::time::Duration;

use quire_fault::{Fault, Kind, Violation, log_internal};
use sea_orm::DbErr;

use crate::money::budget::Exhausted;

/// Why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("there is no such job")]
    NotFound,
    #[error("there is no such document")]
    NoDocument,
    #[error("the document is ordered")]
    Ordered,
    #[error("no outlines are planned before an order")]
    NoOutlines,
    #[error("too many outlines for one day")]
    TooManyOutlines { per_day: u32, retry_after: Duration },
    #[error("this document has no paid order")]
    PaymentRequired,
    #[error("the request breaks a rule")]
    Invalid(Vec<Violation>),
    #[error("the page token is not one of ours")]
    PageToken,
    #[error("an operator has paused this job")]
    PausedByOperator,
    #[error("the job has not failed")]
    NotFailed,
    #[error("this document was ordered without a review of its outline")]
    NotReviewed,
    #[error("there is no outline to approve yet")]
    NoOutline,
    #[error("another service refused")]
    Peer(Fault),
    #[error("the database refused")]
    Database(#[from] DbErr),
}

impl JobError {
    pub fn fault(self) -> Fault {
        match self {
            Self::NotFound => Fault::new(Kind::NotFound, "JOB_NOT_FOUND", "there is no such job"),
            Self::NoDocument => Fault::new(Kind::NotFound, "DOCUMENT_NOT_FOUND", "there is no such document"),
            Self::Ordered => Fault::new(
                Kind::Precondition,
                "DOCUMENT_ORDERED",
                "this document is ordered: its outline is planned by the job that writes it",
            ),
            Self::NoOutlines => Fault::new(
                Kind::Precondition,
                "OUTLINES_OFF",
                "here, outlines are planned only for documents that are ordered",
            ),
            Self::TooManyOutlines { per_day, retry_after } => Fault::new(
                Kind::TooMany,
                "OUTLINE_LIMIT",
                format!("at most {per_day} outlines a day are planned before an order"),
            )
            .with_retry_after(retry_after),
            Self::PaymentRequired => Fault::new(
                Kind::PaymentRequired,
                "PAYMENT_REQUIRED",
                "this document must be paid before it is written",
            ),
            Self::Invalid(violations) => Fault::invalid(violations),
            Self::PageToken => {
                Fault::new(Kind::Malformed, "PAGE_TOKEN_INVALID", "the page token is not one of ours")
            }
            Self::PausedByOperator => Fault::new(
                Kind::Precondition,
                "PAUSED_BY_OPERATOR",
                "an operator has paused this job, and only an operator can resume it",
            ),
            Self::NotFailed => {
                Fault::new(Kind::Precondition, "JOB_NOT_FAILED", "only a job that failed can be retried")
            }
            Self::NotReviewed => Fault::new(
                Kind::Precondition,
                "OUTLINE_NOT_REVIEWED",
                "this document was ordered without a review of its outline",
            ),
            Self::NoOutline => {
                Fault::new(Kind::Precondition, "OUTLINE_NOT_READY", "there is no outline to approve yet")
            }
            Self::Peer(fault) => fault,
            Self::Database(error) => {
                log_internal("background-job", &error);
                Fault::internal()
            }
        }
    }
}

impl From<JobError> for tonic::Status {
    fn from(error: JobError) -> Self {
        error.fault().into()
    }
}

/// Why an attempt ends before its job is done.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The job belongs to another attempt: nothing may be written any more.
    #[error("the lease is lost")]
    LeaseLost,
    #[error("cancelled")]
    Cancelled,
    /// The process is shutting down; the job goes back to the queue as it is.
    #[error("given back")]
    GivenBack,
    /// Somebody wants the job to rest.
    #[error("paused")]
    Paused,
    /// The same step may succeed later.
    #[error("{reason}")]
    Retry { reason: String, after: Option<Duration> },
    /// Something that the step needs does not answer, through no fault of the step: its tries are not counted.
    #[error("{reason}")]
    Wait { reason: String, after: Option<Duration> },
    /// The customer has not approved the outline yet.
    #[error("the outline waits for approval")]
    Review,
    /// The next call could cost more than a budget has left.
    #[error("{}", .0.sentence())]
    Budget(Exhausted),
    /// No retry can help.
    #[error("{sentence}")]
    Failed {
        /// `snake_case`, for programs.
        reason: &'static str,
        /// For the customer: one sentence without internals.
        sentence: String,
    },
    #[error("the database refused")]
    Database(#[from] DbErr),
}

impl Stop {
    pub fn failed(reason: &'static str, sentence: impl Into<String>) -> Self {
        Self::Failed { reason, sentence: sentence.into() }
    }

    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), after: None }
    }
}
