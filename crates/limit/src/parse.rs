//! Rate limits as an operator writes them: `5/minute`, `120/minute burst 40, 30/minute by session`.

use std::time::Duration;

use crate::{By, Policy, RouteLimit};

/// A larger quota limits nothing that a machine could do.
const MAX_QUOTA: u32 = 1_000_000;

/// Why a text is not a rate limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    #[error(
        "`{0}` is not a rate limit: write `5/minute` or `120/minute burst 40 by user shadow`, with a whole \
         number from 1 to {MAX_QUOTA}, a slash, and `second`, `minute`, `hour` or `day`; `burst`, `by` and \
         `shadow` may be left out but keep this order, and the burst is at most the first number"
    )]
    Text(String),
    #[error("`by {key}` cannot be counted here: write {accepted}")]
    Key {
        key: String,
        /// All that could stand in its place, in words.
        accepted: String,
    },
    #[error("two limits per {0} by {1}: one is enough")]
    Twice(&'static str, By),
}

impl RouteLimit {
    /// Reads limits separated by commas: `5/minute`, `120/minute burst 40`, `30/minute by session`,
    /// `10/hour by user shadow`. After the rate come `burst N`, `by KEY` and `shadow`, each optional, in this
    /// order. Without `burst` the whole quota may come at once; without `by` a limit counts by `default_by`.
    ///
    /// `allowed` are the keys that calls of this route have; `default_by` may be written out even if it is not
    /// one of them. The policies are named after the route, their key if it is not the default one, and their
    /// unit: `refresh-minute`, `refresh-session-minute`.
    ///
    /// # Errors
    /// Says what is accepted, or which key and unit appear twice.
    pub fn parse(name: &str, text: &str, default_by: By, allowed: &[By]) -> Result<Self, PolicyError> {
        let mut policies: Vec<Policy> = Vec::new();
        for part in text.split(',') {
            let limit = read(part).ok_or_else(|| PolicyError::Text(part.trim().to_owned()))?;
            let by = match limit.by {
                Some(key) => key_of(key, default_by, allowed)?,
                None => default_by,
            };
            if policies.iter().any(|policy| policy.window == limit.window && policy.by == by) {
                return Err(PolicyError::Twice(limit.unit, by));
            }
            policies.push(Policy {
                name: if by == default_by {
                    format!("{name}-{}", limit.unit)
                } else {
                    format!("{name}-{by}-{}", limit.unit)
                },
                by,
                quota: limit.quota,
                window: limit.window,
                burst: limit.burst,
                shadow: limit.shadow,
            });
        }
        Ok(Self { name: name.to_owned(), policies })
    }
}

struct Limit<'a> {
    quota: u32,
    unit: &'static str,
    window: Duration,
    burst: u32,
    by: Option<&'a str>,
    shadow: bool,
}

fn read(text: &str) -> Option<Limit<'_>> {
    let (quota, rest) = text.trim().split_once('/')?;
    let mut words = rest.split_whitespace().peekable();
    let (unit, seconds) = match words.next()? {
        "second" => ("second", 1),
        "minute" => ("minute", 60),
        "hour" => ("hour", 3600),
        "day" => ("day", 86_400),
        _ => return None,
    };
    let quota = count(quota.trim(), MAX_QUOTA)?;
    let burst = match words.next_if_eq(&"burst") {
        Some(_) => count(words.next()?, quota)?,
        None => quota,
    };
    let by = match words.next_if_eq(&"by") {
        Some(_) => Some(words.next()?),
        None => None,
    };
    let shadow = words.next_if_eq(&"shadow").is_some();
    let window = Duration::from_secs(seconds);
    words.next().is_none().then_some(Limit { quota, unit, window, burst, by, shadow })
}

fn count(text: &str, max: u32) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=max).contains(count))
}

fn key_of(text: &str, default_by: By, allowed: &[By]) -> Result<By, PolicyError> {
    let accepted =
        || std::iter::once(default_by).chain(allowed.iter().copied().filter(|by| *by != default_by));
    accepted().find(|by| by.as_str() == text).ok_or_else(|| {
        let texts: Vec<String> = accepted().map(|by| format!("`by {by}`")).collect();
        PolicyError::Key { key: text.to_owned(), accepted: texts.join(" or ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RouteLimit, PolicyError> {
        RouteLimit::parse("refresh", text, By::Address, &[By::Address, By::Session, By::User])
    }

    fn single(text: &str) -> Policy {
        let mut policies = parse(text).unwrap().policies;
        assert_eq!(policies.len(), 1);
        policies.remove(0)
    }

    #[test]
    fn a_limit_is_a_number_a_slash_and_a_unit() {
        let policy = single(" 5/minute ");
        assert_eq!((policy.quota, policy.burst, policy.window), (5, 5, Duration::from_secs(60)));
        assert_eq!((policy.by, policy.shadow), (By::Address, false));
        assert_eq!(policy.interval_micros(), 12_000_000);
        let policy = single("120/minute burst 40");
        assert_eq!((policy.quota, policy.burst), (120, 40));
        assert_eq!(single("10/second").interval_micros(), 100_000);
    }

    #[test]
    fn after_the_rate_come_burst_key_and_shadow_each_optional() {
        let of = |text| {
            let policy = single(text);
            (policy.burst, policy.by, policy.shadow)
        };
        assert_eq!(of("9/hour burst 2 by user shadow"), (2, By::User, true));
        assert_eq!(of("9/hour burst 2 shadow"), (2, By::Address, true));
        assert_eq!(of("9/hour  by session  shadow"), (9, By::Session, true));
        assert_eq!(of("9/hour by session"), (9, By::Session, false));
        assert_eq!(of("9/hour by address"), (9, By::Address, false));
        assert_eq!(of("9/hour shadow"), (9, By::Address, true));
    }

    #[test]
    fn an_interval_that_does_not_come_out_even_is_rounded_up() {
        assert_eq!(single("7/minute").interval_micros(), 8_571_429);
    }

    #[test]
    fn anything_else_is_refused_with_what_is_accepted() {
        let wrong = [
            "",
            "5",
            "5/",
            "/minute",
            "0/minute",
            "-1/minute",
            "5/week",
            "5/minute burst",
            "1.5/hour",
            "5/minute burst 6",
            "5/minute burst 2 3",
            "1000001/day",
            "5 /min",
            "5/minute by",
            "5/minute session",
            "5/minute shadow by user",
            "5/minute by user burst 2",
            "5/minute shadow shadow",
            "5/minute by user by user",
        ];
        for text in wrong {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, PolicyError::Text(_)), "{text}: {error}");
            assert!(error.to_string().contains("5/minute"), "{text}: {error}");
        }
        assert!(parse("5/minute,").is_err());
    }

    #[test]
    fn a_key_that_the_route_does_not_have_is_refused_with_those_it_has() {
        for (key, text) in [("mailbox", "5/minute by mailbox"), ("shadow", "5/minute by shadow")] {
            let accepted = "`by address` or `by session` or `by user`".to_owned();
            assert_eq!(parse(text), Err(PolicyError::Key { key: key.to_owned(), accepted }));
        }
        let error = RouteLimit::parse("x", "5/day by user", By::Mailbox, &[By::Address]).unwrap_err();
        assert_eq!(error.to_string(), "`by user` cannot be counted here: write `by mailbox` or `by address`");
    }

    #[test]
    fn the_policies_of_a_route_are_named_after_their_key_and_unit() {
        let route = parse("5/minute,20/hour,30/minute by session,9/hour by address").unwrap_err();
        assert_eq!(route, PolicyError::Twice("hour", By::Address));
        let route = parse("5/minute,20/hour,30/minute by session shadow").unwrap();
        let names: Vec<&str> = route.policies.iter().map(|policy| policy.name.as_str()).collect();
        assert_eq!(names, ["refresh-minute", "refresh-hour", "refresh-session-minute"]);
        assert_eq!(parse("5/minute,6/minute shadow"), Err(PolicyError::Twice("minute", By::Address)));
    }
}
