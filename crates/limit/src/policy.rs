//! Rate limits: what a route allows, per kind of key.

use std::fmt;
use std::time::Duration;

/// What a policy counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// The network address of the caller.
    Address,
    /// The session the call belongs to.
    Session,
    /// The user who calls.
    User,
    /// The mailbox that the call sends mail to.
    Mailbox,
    /// One count for all callers.
    Everybody,
}

/// So many calls per window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Shown to callers in headers and errors.
    pub name: String,
    pub by: By,
    pub quota: u32,
    pub window: Duration,
    /// Calls that may come at once; at most `quota`.
    pub burst: u32,
    /// Counts and reports, but never denies: to try a limit out before it bites.
    pub shadow: bool,
}

/// The policies of one route. A call needs the consent of all that are not shadows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteLimit {
    pub name: String,
    pub policies: Vec<Policy>,
}

impl By {
    /// As an operator writes it: `address`, `session`, `user`, `mailbox` or `everybody`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Session => "session",
            Self::User => "user",
            Self::Mailbox => "mailbox",
            Self::Everybody => "everybody",
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Policy {
    /// Microseconds between two calls at the steady rate, rounded up so that the quota is never exceeded.
    pub(crate) fn interval_micros(&self) -> u64 {
        let window = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        window.div_ceil(u64::from(self.quota.max(1))).max(1)
    }

    /// How many microseconds early a call may come: GCRA's tau.
    pub(crate) fn tolerance_micros(&self) -> u64 {
        self.interval_micros().saturating_mul(u64::from(self.burst.saturating_sub(1)))
    }

    /// Calls that would pass now, `reset` microseconds before the theoretical arrival time.
    pub(crate) fn remaining(&self, reset: u64) -> u32 {
        let taken = u32::try_from(reset.div_ceil(self.interval_micros())).unwrap_or(u32::MAX);
        self.burst.saturating_sub(taken)
    }

    /// Microseconds until one more call would pass, `reset` microseconds before the theoretical arrival time.
    pub(crate) fn wait_micros(&self, reset: u64) -> u64 {
        reset.saturating_sub(self.tolerance_micros())
    }
}
