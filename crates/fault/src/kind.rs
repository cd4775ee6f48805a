//! The failure kinds and what each is in gRPC and in HTTP.

use http::StatusCode;
use tonic::Code;

/// What callers can tell apart. Adding a kind does not compile until both transports are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request breaks a rule that names a field.
    Invalid,
    /// The request cannot be understood at all, and no field is to blame.
    Malformed,
    /// No valid credentials.
    Unauthenticated,
    /// Valid credentials, but not for this.
    Forbidden,
    /// Nothing here that the caller may see.
    NotFound,
    /// Something of that name or state is already there.
    Conflict,
    /// The state of the thing does not allow this now.
    Precondition,
    /// This must be paid first.
    PaymentRequired,
    /// More bytes than accepted.
    TooLarge,
    /// More requests than allowed.
    TooMany,
    /// The caller went away.
    Cancelled,
    /// A part that is needed does not answer; a retry may help.
    Unavailable,
    /// The time allowed for the request ran out.
    Deadline,
    /// There is no such operation.
    Unimplemented,
    /// Our own failure.
    Internal,
}

impl Kind {
    /// google.rpc.Code.
    pub fn code(self) -> Code {
        match self {
            Self::Invalid | Self::Malformed | Self::TooLarge => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Forbidden => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::Conflict => Code::AlreadyExists,
            Self::Precondition | Self::PaymentRequired => Code::FailedPrecondition,
            Self::TooMany => Code::ResourceExhausted,
            Self::Cancelled => Code::Cancelled,
            Self::Unavailable => Code::Unavailable,
            Self::Deadline => Code::DeadlineExceeded,
            Self::Unimplemented => Code::Unimplemented,
            Self::Internal => Code::Internal,
        }
    }

    /// The HTTP status of the gateway's answer.
    pub fn http(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Precondition => StatusCode::CONFLICT,
            Self::PaymentRequired => StatusCode::PAYMENT_REQUIRED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            // 499 has no name in the registry; proxies and log tools know it as "client closed request".
            Self::Cancelled => StatusCode::from_u16(499).expect("499 is a valid status code"),
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may succeed later without being changed.
    pub fn retryable(self) -> bool {
        match self {
            Self::TooMany | Self::Unavailable | Self::Deadline => true,
            Self::Invalid
            | Self::Malformed
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::Conflict
            | Self::Precondition
            | Self::PaymentRequired
            | Self::TooLarge
            | Self::Cancelled
            | Self::Unimplemented
            | Self::Internal => false,
        }
    }

    /// The name under which the kind travels in `ErrorInfo.metadata`, as several kinds share a code.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Malformed => "malformed",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Precondition => "precondition",
            Self::PaymentRequired => "payment_required",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::Deadline => "deadline",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        const ALL: [Kind; 15] = [
            Kind::Invalid,
            Kind::Malformed,
            Kind::Unauthenticated,
            Kind::Forbidden,
            Kind::NotFound,
            Kind::Conflict,
            Kind::Precondition,
            Kind::PaymentRequired,
            Kind::TooLarge,
            Kind::TooMany,
            Kind::Cancelled,
            Kind::Unavailable,
            Kind::Deadline,
            Kind::Unimplemented,
            Kind::Internal,
        ];
        ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind of a status that carries no details: from a proxy, or from tonic itself.
    pub(crate) fn from_code(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::OutOfRange => Self::Malformed,
            Code::Unauthenticated => Self::Unauthenticated,
            Code::PermissionDenied => Self::Forbidden,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists | Code::Aborted => Self::Conflict,
            Code::FailedPrecondition => Self::Precondition,
            Code::ResourceExhausted => Self::TooMany,
            Code::Cancelled => Self::Cancelled,
            Code::Unavailable => Self::Unavailable,
            Code::DeadlineExceeded => Self::Deadline,
            Code::Unimplemented => Self::Unimplemented,
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
        }
    }
}
