//! Rate limits as an operator writes them: `5/minute`, `120/minute burst 40`.

use std::time::Duration;

/// A larger quota limits nothing that a machine could do.
const MAX_QUOTA: u32 = 1_000_000;

/// So many calls per window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Shown to callers in headers and errors.
    pub name: String,
    pub quota: u32,
    pub window: Duration,
    /// Calls that may come at once; at most `quota`.
    pub burst: u32,
}

/// The policies of one route. A call needs the consent of all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteLimit {
    pub name: String,
    pub policies: Vec<Policy>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    #[error(
        "`{0}` is not a rate limit: write `5/minute` or `120/minute burst 40`, with a whole number from 1 to \
         {MAX_QUOTA}, a slash, and `second`, `minute`, `hour` or `day`; the burst is at most the first number"
    )]
    Text(String),
    #[error("two limits per {0}: one is enough")]
    Twice(&'static str),
}

impl Policy {
    /// Reads `5/minute` or `120/minute burst 40`. Without `burst` the whole quota may come at once.
    ///
    /// # Errors
    /// Says what is accepted.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        read(text).map(|limit| limit.named(name)).ok_or_else(|| PolicyError::Text(text.trim().to_owned()))
    }

    /// Microseconds between two calls at the steady rate, rounded up so that the quota is never exceeded.
    pub(crate) fn interval_micros(&self) -> u64 {
        let window = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        window.div_ceil(u64::from(self.quota.max(1))).max(1)
    }

    /// How many microseconds early a call may come: GCRA's tau.
    pub(crate) fn tolerance_micros(&self) -> u64 {
        self.interval_micros() * u64::from(self.burst.saturating_sub(1))
    }
}

impl RouteLimit {
    /// Reads limits separated by commas: `5/minute, 20/hour`. The policies are named after the route and their
    /// unit: `refresh-minute`.
    ///
    /// # Errors
    /// Says what is accepted, or which unit appears twice.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        let mut policies: Vec<Policy> = Vec::new();
        for part in text.split(',') {
            let limit = read(part).ok_or_else(|| PolicyError::Text(part.trim().to_owned()))?;
            if policies.iter().any(|policy| policy.window == limit.window) {
                return Err(PolicyError::Twice(limit.unit));
            }
            policies.push(limit.named(&format!("{name}-{}", limit.unit)));
        }
        Ok(Self { name: name.to_owned(), policies })
    }
}

struct Limit {
    quota: u32,
    burst: u32,
    unit: &'static str,
    window: Duration,
}

impl Limit {
    fn named(&self, name: &str) -> Policy {
        Policy { name: name.to_owned(), quota: self.quota, window: self.window, burst: self.burst }
    }
}

fn read(text: &str) -> Option<Limit> {
    let (quota, rest) = text.trim().split_once('/')?;
    let mut words = rest.split_whitespace();
    let (unit, seconds) = match words.next()? {
        "second" => ("second", 1),
        "minute" => ("minute", 60),
        "hour" => ("hour", 3600),
        "day" => ("day", 86_400),
        _ => return None,
    };
    let count = |text: &str, max: u32| text.parse::<u32>().ok().filter(|count| (1..=max).contains(count));
    let quota = count(quota.trim(), MAX_QUOTA)?;
    let burst = match (words.next(), words.next(), words.next()) {
        (None, None, None) => quota,
        (Some("burst"), Some(burst), None) => count(burst, quota)?,
        _ => return None,
    };
    Some(Limit { quota, burst, unit, window: Duration::from_secs(seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_a_slash_and_a_unit() {
        let policy = Policy::parse("refresh", " 5/minute ").unwrap();
        assert_eq!((policy.quota, policy.burst, policy.window), (5, 5, Duration::from_secs(60)));
        assert_eq!(policy.interval_micros(), 12_000_000);
        let policy = Policy::parse("api", "120/minute burst 40").unwrap();
        assert_eq!((policy.quota, policy.burst), (120, 40));
        assert_eq!(Policy::parse("x", "10/second").unwrap().interval_micros(), 100_000);
    }

    #[test]
    fn an_interval_that_does_not_come_out_even_is_rounded_up() {
        assert_eq!(Policy::parse("x", "7/minute").unwrap().interval_micros(), 8_571_429);
    }

    #[test]
    fn anything_else_is_refused_with_what_is_accepted() {
        let wrong =
            ["", "5", "5/", "/minute", "0/minute", "-1/minute", "5/week", "5/minute burst", "1.5/hour"];
        for text in
            wrong.into_iter().chain(["5/minute burst 6", "5/minute burst 2 3", "1000001/day", "5 /min"])
        {
            let error = Policy::parse("x", text).unwrap_err();
            assert!(error.to_string().contains("5/minute"), "{text}: {error}");
        }
    }

    #[test]
    fn the_policies_of_a_route_are_named_after_their_unit() {
        let route = RouteLimit::parse("refresh", "5/minute,20/hour").unwrap();
        let names: Vec<&str> = route.policies.iter().map(|policy| policy.name.as_str()).collect();
        assert_eq!(names, ["refresh-minute", "refresh-hour"]);
        assert_eq!(RouteLimit::parse("x", "5/minute,6/minute"), Err(PolicyError::Twice("minute")));
        assert!(RouteLimit::parse("x", "5/minute,").is_err());
    }
}
