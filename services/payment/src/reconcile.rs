//! Compares three records of the same facts: the provider's, the ledger with its orders, and the jobs. What differs is told
//! and mended; a second run finds nothing.

mod events;
mod janitor;
mod jobs;
mod money;

use std::time::Duration;

use quire_clock::World;
use quire_database::Database;
use tokio::sync::mpsc;

use crate::checkout::Checkout;
use crate::error::PaymentError;
use crate::inbox::Inbox;
use crate::metrics::PaymentMetrics;
use crate::peers::Peers;
use crate::provider::Stripe;
use crate::settle::Settlement;

pub(crate) use janitor::run;

/// Compares. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reconciler {
    pub(crate) database: Database,
    pub(crate) world: World,
    pub(crate) provider: Stripe,
    pub(crate) peers: Peers,
    pub(crate) inbox: Inbox,
    pub(crate) checkout: Checkout,
    pub(crate) settlement: Settlement,
    pub(crate) metrics: PaymentMetrics,
    /// What is younger is on its way.
    pub(crate) grace: Duration,
}

/// How two records differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    EventMissed,
    OrderBehind,
    PaidWithoutJob,
    JobWithoutPayment,
    OutcomeMissed,
    RefundDiffers,
    LedgerUnbalanced,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::EventMissed,
        Self::OrderBehind,
        Self::PaidWithoutJob,
        Self::JobWithoutPayment,
        Self::OutcomeMissed,
        Self::RefundDiffers,
        Self::LedgerUnbalanced,
    ];

    /// For metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EventMissed => "event_missed",
            Self::OrderBehind => "order_behind",
            Self::PaidWithoutJob => "paid_without_job",
            Self::JobWithoutPayment => "job_without_payment",
            Self::OutcomeMissed => "outcome_missed",
            Self::RefundDiffers => "refund_differs",
            Self::LedgerUnbalanced => "ledger_unbalanced",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) order_id: String,
    /// The event, job, payment or refund it is about.
    pub(crate) subject: String,
    pub(crate) detail: String,
    pub(crate) mended: bool,
}

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything that the provider still tells: thirty days.
    Everything,
    /// What may have gone wrong lately; for the janitor.
    Recent(Duration),
    /// Only what needs no word of the provider.
    OwnRecords,
}

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) reconciler: &'a Reconciler,
    pub(crate) scope: Scope,
    /// Look only.
    pub(crate) dry_run: bool,
    pub(crate) findings: mpsc::Sender<Finding>,
}

/// The provider tells of events for so long.
const EVENTS_LAST: Duration = Duration::from_secs(30 * 24 * 3600);

impl Run<'_> {
    /// Compares everything in the scope. The findings go out as they are made.
    ///
    /// # Errors
    /// The provider, the job service or the database does not answer; what was found until then stands.
    pub(crate) async fn go(&self) -> Result<(), PaymentError> {
        if self.scope != Scope::OwnRecords {
            self.events().await?;
            self.unsettled_orders().await?;
            self.refunds().await?;
        }
        self.paid_orders().await?;
        self.jobs().await?;
        self.ledger().await
    }

    /// Tells of a difference. Nobody may be listening any more: mending goes on all the same.
    async fn tell(&self, finding: Finding) {
        tracing::warn!(
            kind = finding.kind.name(),
            order = finding.order_id,
            subject = finding.subject,
            mended = finding.mended,
            "records differ"
        );
        let _ = self.findings.send(finding).await;
    }

    /// Before this moment things have had their time.
    fn settled_before(&self) -> i64 {
        self.reconciler.world.now().minus(self.reconciler.grace).unix_micros()
    }

    fn since(&self) -> i64 {
        let back = match self.scope {
            Scope::Recent(window) => window,
            Scope::Everything | Scope::OwnRecords => EVENTS_LAST,
        };
        self.reconciler.world.now().minus(back).unix_micros()
    }
}

impl Reconciler {
    /// All findings of a run.
    ///
    /// # Errors
    /// As [`Run::go`].
    pub(crate) async fn collect(&self, scope: Scope, dry_run: bool) -> Result<Vec<Finding>, PaymentError> {
        let (findings, mut told) = mpsc::channel(64);
        let run = Run { reconciler: self, scope, dry_run, findings };
        let listen = async {
            let mut all = Vec::new();
            while let Some(finding) = told.recv().await {
                all.push(finding);
            }
            all
        };
        let work = async move {
            let outcome = run.go().await;
            drop(run);
            outcome
        };
        let (outcome, all) = tokio::join!(work, listen);
        outcome.map(|()| all)
    }
}
