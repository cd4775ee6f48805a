//! Everything that can go wrong here, and its one mapping to a fault.

use quire_fault::{Fault, Kind, Rule, Violation, log_internal};

use crate::page_count;
use crate::status::Status;

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the request breaks rules")]
    Invalid(Vec<Violation>),
    #[error("{0}")]
    Malformed(&'static str),
    #[error("there is no such document")]
    NoDocument,
    #[error("there is no such source")]
    NoSource,
    #[error("there is no such export")]
    NoExport,
    /// A move that the document's status does not allow.
    #[error("the document is {}: {refused}", .status.name())]
    State { status: Status, refused: &'static str },
    #[error("a document that is {} cannot be removed", .0.name())]
    Held(Status),
    #[error("another job has this document")]
    OtherJob,
    #[error("this job no longer has the document")]
    Fenced,
    #[error("the document is not finished")]
    NotReady(Status),
    #[error("a document is delivered only with its PDF")]
    NoPdf,
    #[error("files of more than {limit} bytes are not accepted")]
    TooLarge { limit: u64 },
    #[error("at most {limit} sources belong to one document")]
    TooManySources { limit: i32 },
    #[error("the sources of a document have at most {limit} characters together")]
    TooMuchText { limit: i64 },
    #[error("the sources support at most {max_pages} pages")]
    TooFewSources { max_pages: i32 },
    #[error("a digest needs a source")]
    NoSources,
    #[error("the upload stalled or broke off")]
    Interrupted,
    #[error("the document is described in another way by now")]
    Changed,
    #[error("the document changes too often at the moment")]
    Busy,
    #[error(transparent)]
    Idempotency(#[from] quire_idempotency::IdempotencyError),
    #[error("the database failed")]
    Database(#[from] sea_orm::DbErr),
    #[error("the file store failed")]
    Store(#[from] object_store::Error),
    #[error("a local file failed")]
    File(#[from] std::io::Error),
    #[error("a source could not be read for a reason of our own")]
    Reader(#[source] crate::reader::ReadError),
    #[error("stored data cannot be understood")]
    Stored(#[from] serde_json::Error),
    #[error("stored data cannot be understood: {0}")]
    Corrupt(&'static str),
    #[error("a computation did not finish")]
    Task(#[from] tokio::task::JoinError),
}

impl DocumentError {
    pub fn field(field: &str, rule: Rule) -> Self {
        Self::Invalid(vec![Violation::new(field, rule)])
    }

    /// What the caller may see. Internal causes are logged here, once.
    pub fn fault(self) -> Fault {
        let message = self.to_string();
        match self {
            Self::Invalid(violations) => Fault::invalid(violations),
            Self::Malformed(_) => Fault::new(Kind::Malformed, "MALFORMED_STREAM", message),
            Self::NoDocument => Fault::new(Kind::NotFound, "DOCUMENT_NOT_FOUND", message),
            Self::NoSource => Fault::new(Kind::NotFound, "SOURCE_NOT_FOUND", message),
            Self::NoExport => Fault::new(Kind::NotFound, "EXPORT_NOT_FOUND", message),
            Self::State { status, .. } => Fault::new(Kind::Precondition, "DOCUMENT_STATE", message)
                .with_metadata("status", status.name()),
            Self::Held(status) => {
                Fault::new(Kind::Conflict, "DOCUMENT_STATE", message).with_metadata("status", status.name())
            }
            Self::OtherJob => Fault::new(Kind::Conflict, "DOCUMENT_HAS_JOB", message),
            Self::Fenced => Fault::new(Kind::Precondition, "JOB_FENCED", message),
            Self::NotReady(status) => Fault::new(Kind::Precondition, "DOCUMENT_NOT_READY", message)
                .with_metadata("status", status.name()),
            Self::NoPdf => Fault::new(Kind::Precondition, "EXPORT_MISSING", message),
            Self::TooLarge { limit } => Fault::new(Kind::TooLarge, "FILE_TOO_LARGE", message)
                .with_metadata("max_bytes", limit.to_string()),
            Self::TooManySources { .. } | Self::TooMuchText { .. } => {
                Fault::invalid_field("file", Rule::Value(message))
            }
            Self::TooFewSources { max_pages } => {
                let rule = Rule::LessThanEqual(i64::from(max_pages));
                let fault = Fault::invalid_field(page_count::FIELD, rule);
                Fault { message, ..fault.with_metadata("max_pages", max_pages.to_string()) }
            }
            Self::NoSources => Fault::invalid_field(
                "sources",
                Rule::Value("upload at least one source: a digest quotes nothing else".to_owned()),
            ),
            Self::Interrupted => Fault::new(Kind::Cancelled, "UPLOAD_INTERRUPTED", message),
            Self::Changed => Fault::new(Kind::Precondition, "DOCUMENT_CHANGED", message),
            Self::Busy => Fault::new(Kind::Unavailable, "DOCUMENT_BUSY", message)
                .with_retry_after(std::time::Duration::from_secs(1)),
            Self::Idempotency(error) => error.into(),
            Self::Database(_)
            | Self::Store(_)
            | Self::File(_)
            | Self::Reader(_)
            | Self::Stored(_)
            | Self::Corrupt(_)
            | Self::Task(_) => {
                log_internal("document", &self);
                Fault::internal()
            }
        }
    }
}

impl From<DocumentError> for tonic::Status {
    fn from(error: DocumentError) -> Self {
        error.fault().into()
    }
}
