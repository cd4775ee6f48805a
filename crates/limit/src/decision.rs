//! The answer of a limiter, computed in one place for all ways of counting.

use std::cmp::Reverse;
use std::time::Duration;

use crate::{Policy, RouteLimit};

/// Whether a call is allowed, and what to tell the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Name of the policy that denied, of the one with the longest wait if several did; of the one with the
    /// fewest calls left if the call is allowed. The name of the route if no policy but shadows applied.
    pub policy: String,
    /// The quota of that policy; zero if no policy but shadows applied.
    pub limit: u32,
    /// Calls that policy would still let through now.
    pub remaining: u32,
    /// When to try again; zero if the call is allowed.
    pub retry_after: Duration,
    /// When that policy is as good as unused.
    pub reset_after: Duration,
    /// Names of all policies that deny, in the route's order; empty if the call is allowed.
    pub violated: Vec<String>,
    /// Names of the shadow policies that would have denied, in the route's order.
    pub shadowed: Vec<String>,
    /// Who decided.
    pub source: Source,
}

/// Whose counts an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Those that all replicas share, also if this process remembered a denial.
    Redis,
    /// Those of this process: no Redis is set, it does not answer, or no policy applied.
    Local,
}

/// What one policy says about one call.
pub(crate) struct Verdict<'a> {
    pub policy: &'a Policy,
    /// A shadow policy says so too, but nobody listens.
    pub denied: bool,
    /// Microseconds from now to the theoretical arrival time; with this call if it was counted.
    pub reset: u64,
}

impl Verdict<'_> {
    /// Whether the call is denied because of this policy.
    pub(crate) fn denies(&self) -> bool {
        self.denied && !self.policy.shadow
    }
}

impl Decision {
    pub(crate) fn of(route: &RouteLimit, verdicts: &[Verdict], source: Source) -> Self {
        let violated = denying(verdicts, false);
        let allowed = violated.is_empty();
        let heard = verdicts.iter().filter(|verdict| !verdict.policy.shadow);
        let chosen = if allowed {
            heard.min_by_key(|verdict| (verdict.policy.remaining(verdict.reset), Reverse(verdict.reset)))
        } else {
            heard
                .filter(|verdict| verdict.denies())
                .max_by_key(|verdict| verdict.policy.wait_micros(verdict.reset))
        };
        let mut decision = Self {
            allowed,
            policy: route.name.clone(),
            limit: 0,
            remaining: 0,
            retry_after: Duration::ZERO,
            reset_after: Duration::ZERO,
            violated,
            shadowed: denying(verdicts, true),
            source,
        };
        if let Some(Verdict { policy, denied, reset }) = chosen {
            decision.policy = policy.name.clone();
            decision.limit = policy.quota;
            decision.remaining = policy.remaining(*reset);
            decision.reset_after = Duration::from_micros(*reset);
            if *denied {
                decision.retry_after = Duration::from_micros(policy.wait_micros(*reset));
            }
        }
        decision
    }
}

fn denying(verdicts: &[Verdict], shadow: bool) -> Vec<String> {
    let denying = verdicts.iter().filter(|verdict| verdict.denied && verdict.policy.shadow == shadow);
    denying.map(|verdict| verdict.policy.name.clone()).collect()
}
