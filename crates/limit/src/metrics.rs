//! What is counted of limits. Labels are names of policies, which come from the settings.

use quire_serve::metrics::{Counters, Scope};

use crate::{Decision, Source};

/// The counts of one limiter. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Counts {
    checks: Counters<1>,
    refusals: Counters<1>,
    shadow_refusals: Counters<1>,
}

impl Counts {
    pub(crate) fn new(scope: &Scope) -> Self {
        Self {
            checks: scope.counters(
                "limiter_checks",
                "Calls that a limit applied to, by who counted",
                ["source"],
            ),
            refusals: scope.counters("limiter_refusals", "Calls that a policy refused", ["policy"]),
            shadow_refusals: scope.counters(
                "limiter_shadow_refusals",
                "Calls that a policy on trial would have refused",
                ["policy"],
            ),
        }
    }

    pub(crate) fn count(&self, decision: &Decision) {
        self.checks.count([match decision.source {
            Source::Redis => "redis",
            Source::Local => "local",
        }]);
        decision.violated.iter().for_each(|policy| self.refusals.count([policy]));
        decision.shadowed.iter().for_each(|policy| self.shadow_refusals.count([policy]));
    }
}
