//! The answer of a limiter, computed in one place for both ways of counting.

use std::time::Duration;

use crate::{Policy, RouteLimit};

/// Whether a call is allowed, and what to tell the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Name of the policy that denied; of the one with the fewest calls left if the call is allowed.
    pub policy: String,
    /// The quota of that policy.
    pub limit: u32,
    /// Calls that policy would still let through now.
    pub remaining: u32,
    /// When to try again; zero if the call is allowed.
    pub retry_after: Duration,
    /// When that policy is as good as unused.
    pub reset_after: Duration,
}

impl Decision {
    /// `resets`: per policy of the route, in order, microseconds from now to its theoretical arrival time;
    /// after this call if `allowed`, without it otherwise.
    pub(crate) fn of(route: &RouteLimit, allowed: bool, resets: &[u64]) -> Self {
        let rows = route.policies.iter().zip(resets).map(|(policy, reset)| Row::new(policy, *reset));
        let chosen = if allowed {
            rows.min_by_key(|row| (row.remaining, std::cmp::Reverse(row.reset)))
        } else {
            rows.max_by_key(|row| row.wait)
        };
        let Some(row) = chosen else {
            // A route without policies limits nothing.
            return Self {
                allowed,
                policy: route.name.clone(),
                limit: 0,
                remaining: 0,
                retry_after: Duration::ZERO,
                reset_after: Duration::ZERO,
            };
        };
        Self {
            allowed,
            policy: row.policy.name.clone(),
            limit: row.policy.quota,
            remaining: row.remaining,
            retry_after: Duration::from_micros(if allowed { 0 } else { row.wait }),
            reset_after: Duration::from_micros(row.reset),
        }
    }
}

struct Row<'a> {
    policy: &'a Policy,
    reset: u64,
    remaining: u32,
    /// Microseconds until the next call would be allowed.
    wait: u64,
}

impl<'a> Row<'a> {
    fn new(policy: &'a Policy, reset: u64) -> Self {
        let interval = policy.interval_micros();
        let taken = u32::try_from(reset.div_ceil(interval)).unwrap_or(u32::MAX);
        Self {
            policy,
            reset,
            remaining: policy.burst.saturating_sub(taken),
            wait: reset.saturating_sub(policy.tolerance_micros()),
        }
    }
}
