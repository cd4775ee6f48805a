//! An answer of the deployment, and what every answer of its kind must look like.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;

use super::report::{Verdict, wrong};

/// The machine-readable reason of a failure.
const REASON: &str = "x-quire-reason";
/// A longer reason is none, and is not shown.
const MAX_REASON: usize = 64;

/// Read to its end. Has no `Debug`: the body may hold tokens.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// From the first byte sent to the last one read.
    pub(crate) took: Duration,
}

/// What the headers `RateLimit` and `RateLimit-Policy` tell about the limit that is nearest to its end.
#[derive(Debug)]
pub(crate) struct Quota {
    pub(crate) policy: String,
    /// Calls in a window.
    pub(crate) limit: u32,
    pub(crate) window: Duration,
    /// Calls that are still let through.
    pub(crate) remaining: u32,
}

impl Quota {
    /// The time after which one more call is let through.
    pub(crate) fn interval(&self) -> Duration {
        self.window / self.limit.max(1)
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Empty unless it is a word that is safe to show: a header may hold anything.
    pub(crate) fn reason(&self) -> &str {
        let reason = self.header(REASON);
        let plain =
            reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        if plain && reason.len() <= MAX_REASON { reason } else { "" }
    }

    /// `Null` if the body is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A text of the body.
    pub(crate) fn text(&self, name: &str) -> Verdict<String> {
        let found = self.json()[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        found.ok_or_else(|| wrong(format!("{} without `{name}` in its body", self.told())))
    }

    /// Status and reason, for a report.
    pub(crate) fn told(&self) -> String {
        match self.reason() {
            "" => format!("answered {}", self.status),
            reason => format!("answered {} {reason}", self.status),
        }
    }

    /// The answer itself, if it has that status.
    pub(crate) fn with_status(self, expected: u16) -> Verdict<Self> {
        if self.status == expected {
            return Ok(self);
        }
        Err(wrong(format!("{}, expected {expected}", self.told())))
    }

    /// A whole refusal: the status, its reason, the challenge that goes with a 401, and a body that explains itself
    /// and gives nothing away.
    pub(crate) fn is_refusal(&self, status: u16, reason: &str) -> Verdict {
        if (self.status, self.reason()) != (status, reason) {
            return Err(wrong(format!("{}, expected {status} {reason}", self.told())));
        }
        let challenge = self.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        if status == 401 && !challenge.is_some_and(|challenge| challenge.starts_with("Bearer")) {
            return Err(wrong(format!("{} without `WWW-Authenticate: Bearer`", self.told())));
        }
        let body = self.json();
        if body.get("detail").is_none() {
            return Err(wrong(format!("{} without `detail` in its body", self.told())));
        }
        if body.get("access_token").is_some() || body.get("refresh_token").is_some() {
            return Err(wrong(format!("{}, but with a token in its body", self.told())));
        }
        Ok(())
    }

    /// The seconds of `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// The limit that is nearest to its end. `None` unless both headers are there and speak of the same policy.
    pub(crate) fn quota(&self) -> Option<Quota> {
        let (policy, now) = item(self.header("ratelimit"))?;
        let policies = self.header("ratelimit-policy").split(',').filter_map(item);
        let (_, rules) = policies.into_iter().find(|(name, _)| *name == policy)?;
        let window = Duration::from_secs(u64::from(number(&rules, "w")?));
        let (limit, remaining) = (number(&rules, "q")?, number(&now, "r")?);
        Some(Quota { policy: policy.to_owned(), limit, window, remaining })
    }
}

/// `"name";a=1;b=2` of the IETF draft "RateLimit header fields for HTTP".
fn item(text: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let mut parts = text.trim().split(';');
    let name = parts.next()?.trim().strip_prefix('"')?.strip_suffix('"')?;
    Some((name, parts.filter_map(|part| part.trim().split_once('=')).collect()))
}

fn number(parameters: &[(&str, &str)], name: &str) -> Option<u32> {
    parameters.iter().find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), value.parse().unwrap()));
        let headers = headers.collect();
        Answer { status, headers, body: body.as_bytes().to_vec(), took: Duration::ZERO }
    }

    #[test]
    fn the_policy_that_is_nearest_to_its_end_is_found_among_several() {
        let told = answer(
            202,
            &[
                ("ratelimit-policy", r#""magic_link-minute";q=5;w=60, "magic_link-hour";q=20;w=3600"#),
                ("ratelimit", r#""magic_link-hour";r=3;t=180"#),
            ],
            "",
        );
        let quota = told.quota().unwrap();
        assert_eq!((quota.policy.as_str(), quota.limit, quota.remaining), ("magic_link-hour", 20, 3));
        assert_eq!((quota.window, quota.interval()), (Duration::from_secs(3600), Duration::from_secs(180)));
        assert_eq!(
            answer(202, &[("ratelimit", r#""a";r=3;t=180"#)], "").quota().map(|quota| quota.limit),
            None
        );
    }

    #[test]
    fn a_refusal_is_more_than_its_status() {
        let headers = [("x-quire-reason", "TOKEN_INVALID"), ("www-authenticate", "Bearer")];
        let check = |headers: &[(&'static str, &str)], body: &str| {
            answer(401, headers, body).is_refusal(401, "TOKEN_INVALID").is_ok()
        };
        assert!(check(&headers, r#"{"detail":"no"}"#));
        assert!(!check(&headers[..1], r#"{"detail":"no"}"#));
        assert!(!check(&headers[1..], r#"{"detail":"no"}"#));
        assert!(!check(&headers, r#"{"detail":"no","access_token":"x"}"#));
        assert!(!check(&headers, "no"));
    }

    #[test]
    fn a_reason_that_could_be_a_secret_is_not_shown() {
        assert_eq!(answer(401, &[("x-quire-reason", "eyJhbGciOi")], "").told(), "answered 401");
        assert_eq!(
            answer(401, &[("x-quire-reason", "TOKEN_INVALID")], "").told(),
            "answered 401 TOKEN_INVALID"
        );
    }
}
