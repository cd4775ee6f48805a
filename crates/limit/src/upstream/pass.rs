//! One call's right to be made, and what is told of it afterwards.

use std::sync::Arc;
use std::time::Duration;

use super::account::Entry;
use super::remote::Report;
use super::{Upstream, micros};

/// An upstream that does not say how long it wants to be left alone.
const PAUSE: Duration = Duration::from_secs(30);

/// What the upstream said to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was let in, whatever became of it.
    Served,
    /// Nobody is let in; for so long, if it said so.
    Busy { after: Option<Duration> },
}

/// One call's right to be made. Dropped before there was an answer, it gives back what it took.
pub struct Pass {
    upstream: Arc<Upstream>,
    token: String,
    cost: f64,
    answered: bool,
    /// Nothing is left to tell.
    over: bool,
    account: Taken,
    remote: Taken,
}

/// Whether somebody has written the call down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    No,
    Yes,
    /// It was asked, and did not answer: it may think that this call tries.
    Unknown,
}

impl Pass {
    /// Not admitted yet.
    pub(super) fn new(upstream: Arc<Upstream>, token: String, cost: f64) -> Self {
        let (account, remote) = (Taken::No, Taken::No);
        Self { upstream, token, cost, answered: false, over: false, account, remote }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn cost(&self) -> f64 {
        self.cost
    }

    pub(super) fn asks_remote(&mut self) {
        self.remote = Taken::Unknown;
    }

    pub(super) fn remote_says(&mut self, entry: &Entry) {
        self.remote = if matches!(entry, Entry::Passes { .. }) { Taken::Yes } else { Taken::No };
    }

    pub(super) fn admit(&mut self) {
        self.account = Taken::Yes;
    }

    /// Was not let through by this process; what Redis may have made of it is taken back.
    pub(super) fn refuse(mut self) {
        self.over = self.remote == Taken::No;
    }

    /// Tells everybody what the upstream said.
    pub async fn answered(&mut self, answer: Answer) {
        self.answered = true;
        let report = {
            let now = self.upstream.clock.now();
            let mut account = self.upstream.account();
            match answer {
                Answer::Served => {
                    account.tried(&self.token, true, now);
                    Report::Served
                }
                Answer::Busy { after } => {
                    let after = micros(after.unwrap_or(PAUSE));
                    account.open(now + after);
                    account.tried(&self.token, false, now);
                    Report::Busy { after }
                }
            }
        };
        let busy = self.tell(report, None).await;
        if matches!(report, Report::Busy { .. }) {
            let now = self.upstream.clock.now();
            let mut account = self.upstream.account();
            account.told(busy.is_some());
            // Another call may have been told to wait longer.
            account.open(now + busy.unwrap_or_default());
        }
    }

    /// Settles the call by what it cost; without an answer it cost nothing.
    pub async fn settle(mut self, cost: i64) {
        self.over = true;
        if self.answered {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let more = cost.max(0) as f64 - self.cost;
            self.enter((0.0, more));
            self.tell(Report::Nothing, Some((0.0, more))).await;
        } else {
            let all = self.give_back();
            self.tell(Report::Gone, Some(all)).await;
        }
    }

    /// Takes the call out of the account of this process. Returns what else is to be told.
    fn give_back(&self) -> (f64, f64) {
        let all = (-1.0, -self.cost);
        self.enter(all);
        self.upstream.account().tried(&self.token, false, self.upstream.clock.now());
        all
    }

    fn enter(&self, amounts: (f64, f64)) {
        if self.account == Taken::Yes {
            let now = self.upstream.clock.now();
            self.upstream.account().add(&self.upstream.bounds, amounts, now);
        }
    }

    /// For how long the upstream is busy, if Redis has learnt it.
    async fn tell(&self, report: Report, amounts: Option<(f64, f64)>) -> Option<i64> {
        // What was not taken there is not given back there.
        let amounts = amounts.filter(|_| self.remote == Taken::Yes);
        if report == Report::Nothing && amounts.is_none() {
            return None;
        }
        let Upstream { key, bounds, remote, .. } = &*self.upstream;
        remote.as_ref()?.report(key, bounds, &self.token, report, amounts.unwrap_or_default()).await
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.over || self.answered {
            return;
        }
        let all = self.give_back();
        let Some(remote) = self.upstream.remote.clone().filter(|_| self.remote != Taken::No) else { return };
        // Outside of a runtime everything ends; the trial then ends by its time.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (upstream, token) = (self.upstream.clone(), std::mem::take(&mut self.token));
        let amounts = if self.remote == Taken::Yes { all } else { (0.0, 0.0) };
        runtime.spawn(async move {
            remote.report(&upstream.key, &upstream.bounds, &token, Report::Gone, amounts).await;
        });
    }
}
