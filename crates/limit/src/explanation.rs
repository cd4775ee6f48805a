//! How the policies of a route stand for one caller, for the operator who asks why a call was denied.

use std::time::Duration;

use quire_clock::Timestamp;

use crate::keys::Bucket;
use crate::{Policy, Source};

/// How each policy stands for the keys that were asked for. Policies whose key was not given are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Who counts now.
    pub source: Source,
    /// In the route's order.
    pub policies: Vec<PolicyState>,
}

/// How one policy stands for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyState {
    pub policy: Policy,
    /// The theoretical arrival time, by the clock of who counts; none if the policy is as good as unused.
    pub arrival: Option<Timestamp>,
    /// Calls that would pass now.
    pub remaining: u32,
    /// Until one more call would pass; zero if it would now. A shadow policy lets it pass in any case.
    pub next_call: Duration,
    /// When the policy is as good as unused.
    pub reset_after: Duration,
    /// This process remembers that Redis denied, and answers so without asking again. The times above are never
    /// before the moment when it will ask.
    pub denial_cached: bool,
}

/// How buckets stand at a moment.
pub(crate) struct Standing {
    pub now: Timestamp,
    /// Per bucket, microseconds from `now` to the theoretical arrival time; zero if that is over.
    pub resets: Vec<u64>,
}

impl Explanation {
    /// `waits`: per bucket, microseconds until a remembered denial is over; zero if there is none.
    pub(crate) fn of(buckets: &[Bucket], standing: &Standing, waits: &[u64], source: Source) -> Self {
        let times = standing.resets.iter().zip(waits);
        let states = buckets.iter().zip(times).map(|(bucket, (reset, wait))| {
            let policy = bucket.policy;
            let arrival = (*reset > 0).then(|| standing.now.plus(Duration::from_micros(*reset)));
            let denial_cached = *wait > 0 && !policy.shadow;
            let remembered = if denial_cached { wait.saturating_add(policy.tolerance_micros()) } else { 0 };
            let reset = (*reset).max(remembered);
            PolicyState {
                policy: policy.clone(),
                arrival,
                remaining: policy.remaining(reset),
                next_call: Duration::from_micros(policy.wait_micros(reset)),
                reset_after: Duration::from_micros(reset),
                denial_cached,
            }
        });
        Self { source, policies: states.collect() }
    }
}
