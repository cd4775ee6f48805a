//! What payment counts for its operators.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quire_serve::metrics::{Counters, Durations, Scope};

use crate::inbox::Verdict;
use crate::reconcile::Kind;
use crate::signature::{SignatureError, Verified};
use crate::store::entity::inbox::InboxStatus;

/// Cheap to clone: clones count together.
#[derive(Clone)]
pub(crate) struct PaymentMetrics {
    webhooks: Counters<1>,
    refused: Counters<1>,
    secrets: Counters<1>,
    skew: Durations<1>,
    mended: Counters<1>,
    latest: Arc<Latest>,
}

/// What the janitor saw at its latest look.
#[derive(Default)]
struct Latest {
    paid_without_job: AtomicU64,
    job_without_payment: AtomicU64,
    ledger_unbalanced: AtomicU64,
    dead_events: AtomicU64,
    dead_tasks: AtomicU64,
}

impl PaymentMetrics {
    pub(crate) fn new(scope: &Scope) -> Self {
        let latest = Arc::new(Latest::default());
        let gauge = |name: &str, help: &str, read: fn(&Latest) -> &AtomicU64| {
            let latest = latest.clone();
            #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
            scope.gauge(name, help, move || read(&latest).load(Ordering::Relaxed) as f64);
        };
        gauge(
            "paid_without_job",
            "Orders paid for longer than the grace and without a job, at the latest look",
            |latest| &latest.paid_without_job,
        );
        gauge("job_without_payment", "Jobs whose order was never paid, at the latest look", |latest| {
            &latest.job_without_payment
        });
        gauge(
            "ledger_unbalanced",
            "Orders whose ledger entries do not sum to zero, at the latest look",
            |latest| &latest.ledger_unbalanced,
        );
        gauge("dead_events", "Events that could not be applied and were given up", |latest| {
            &latest.dead_events
        });
        gauge("dead_tasks", "Outbox tasks that were refused and given up", |latest| &latest.dead_tasks);
        Self {
            webhooks: scope.counters("webhooks", "Signed events by what became of them", ["verdict"]),
            refused: scope.counters("webhooks_refused", "Posts to the webhook by what was wrong", ["reason"]),
            secrets: scope.counters(
                "webhook_secret",
                "Signed events by the place of the secret that matched, from 0",
                ["secret"],
            ),
            skew: scope.durations(
                "webhook_skew_seconds",
                "Age of webhook signatures by our clock; refused beyond 300. `ahead`: the provider's clock is",
                ["direction"],
            ),
            mended: scope.counters("mismatches", "Differences that the janitor found", ["kind"]),
            latest,
        }
    }

    pub(crate) fn webhook_verified(&self, verified: &Result<Verified, SignatureError>) {
        match verified {
            Ok(verified) => {
                self.secrets.count([verified.secret.to_string().as_str()]);
                let direction = if verified.skew_seconds < 0 { "ahead" } else { "behind" };
                self.skew.observe([direction], Duration::from_secs(verified.skew_seconds.unsigned_abs()));
            }
            Err(error) => self.refused.count([error.reason()]),
        }
    }

    pub(crate) fn webhook_answered(&self, verdict: Verdict) {
        let verdict = match verdict {
            Verdict::Duplicate => "duplicate",
            Verdict::Deferred => "deferred",
            Verdict::Stored { status, .. } => match status {
                InboxStatus::Received | InboxStatus::Dead => "deferred",
                InboxStatus::Parked => "parked",
                InboxStatus::Done => "accepted",
                InboxStatus::Ignored => "ignored",
                InboxStatus::Quarantined => "quarantined",
            },
        };
        self.webhooks.count([verdict]);
    }

    /// How many differences of a kind the latest look found.
    pub(crate) fn mismatches(&self, kind: Kind, count: usize) {
        for _ in 0..count {
            self.mended.count([kind.name()]);
        }
        let gauge = match kind {
            Kind::PaidWithoutJob => &self.latest.paid_without_job,
            Kind::JobWithoutPayment => &self.latest.job_without_payment,
            Kind::LedgerUnbalanced => &self.latest.ledger_unbalanced,
            Kind::EventMissed | Kind::OrderBehind | Kind::OutcomeMissed | Kind::RefundDiffers => return,
        };
        gauge.store(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn dead_letters(&self, events: u64, tasks: u64) {
        self.latest.dead_events.store(events, Ordering::Relaxed);
        self.latest.dead_tasks.store(tasks, Ordering::Relaxed);
    }
}
