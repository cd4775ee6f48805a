//! What it means when an endpoint does not answer, or not as it should.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};

use crate::writer::WriteError;

/// How long until the next look at an endpoint that lets this installation not in.
pub const LOCKED_OUT: Duration = Duration::from_secs(300);
/// Anthropic's status for too many calls of everybody together.
const OVERLOADED: u16 = 529;

/// The error's own text may hold the address with a password in it.
pub fn unreachable(error: &reqwest::Error) -> WriteError {
    let reason = match error {
        error if error.is_connect() => "the model's endpoint cannot be reached",
        error if error.is_timeout() => "the model's endpoint did not answer in time",
        _ => "the connection to the model broke",
    };
    WriteError::retry(reason)
}

/// What a provider says that wants to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    pub after: Option<Duration>,
}

/// Whether everybody shall wait, whatever is asked.
pub fn busy(response: &Response) -> Option<Busy> {
    let status = response.status();
    let all = status == StatusCode::TOO_MANY_REQUESTS || status.as_u16() == OVERLOADED;
    all.then(|| Busy { after: retry_after(response.headers()) })
}

/// Whether the endpoint refused.
///
/// # Errors
/// What its status means.
pub fn check(response: &Response) -> Result<(), WriteError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    tracing::warn!(%status, "the model's endpoint refused");
    Err(refused(status, retry_after(response.headers())))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let after = headers.get("retry-after")?.to_str().ok()?;
    Duration::try_from_secs_f64(after.trim().parse().ok()?).ok()
}

/// What a status other than success means.
fn refused(status: StatusCode, after: Option<Duration>) -> WriteError {
    let code = status.as_u16();
    match status {
        // A wrong key, an empty account, a model that is not served: an operator's to mend, and the same for
        // every job, so that no job may fail over it before somebody could look.
        StatusCode::UNAUTHORIZED
        | StatusCode::PAYMENT_REQUIRED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND => WriteError::Wait {
            reason: format!("the language model's endpoint turns this installation away with status {code}"),
            after: Some(LOCKED_OUT),
        },
        // Also an account without money is answered so by some providers.
        StatusCode::TOO_MANY_REQUESTS => busy_now(code, after),
        _ if code == OVERLOADED => busy_now(code, after),
        StatusCode::REQUEST_TIMEOUT => {
            WriteError::Retry { reason: format!("the model's endpoint answered {code}"), after }
        }
        status if status.is_server_error() => {
            WriteError::Retry { reason: format!("the model's endpoint answered {code}"), after }
        }
        _ => WriteError::failed(
            "model_refused",
            format!("the language model's endpoint refused the request with status {code}"),
        ),
    }
}

fn busy_now(code: u16, after: Option<Duration>) -> WriteError {
    WriteError::Wait { reason: format!("waiting for the model, which answered {code}"), after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_request_itself_fails_at_once() {
        for code in [401, 402, 403, 404] {
            let error = refused(StatusCode::from_u16(code).unwrap(), None);
            assert!(matches!(error, WriteError::Wait { after: Some(LOCKED_OUT), .. }), "{code}: {error:?}");
        }
        for code in [429, 529] {
            let asked = Some(Duration::from_secs(7));
            let busy = refused(StatusCode::from_u16(code).unwrap(), asked);
            assert!(matches!(busy, WriteError::Wait { after, .. } if after == asked), "{busy:?}");
        }
        for code in [408, 500, 503] {
            let error = refused(StatusCode::from_u16(code).unwrap(), None);
            assert!(matches!(error, WriteError::Retry { .. }), "{code}: {error:?}");
        }
        for code in [400, 422] {
            let error = refused(StatusCode::from_u16(code).unwrap(), None);
            assert!(matches!(error, WriteError::Failed { .. }), "{code}: {error:?}");
        }
    }

    #[test]
    fn the_wish_to_wait_is_read_in_seconds() {
        let after = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(after("-1"), None);
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
