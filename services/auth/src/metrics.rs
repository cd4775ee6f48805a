//! What auth counts.

use quire_serve::metrics::{Counter, Counters, Scope};

/// Cheap to clone; clones share their counts.
#[derive(Clone)]
pub struct AuthMetrics {
    /// Tries of a link by a device that did not ask for it: most likely a mail scanner that followed it.
    pub prefetches: Counter,
    mails: Counters<2>,
    refreshes: Counters<1>,
}

#[derive(Debug, Clone, Copy)]
pub enum MailKind {
    SignIn,
    Alert,
}

#[derive(Debug, Clone, Copy)]
pub enum MailOutcome {
    Sent,
    /// Given up.
    Failed,
    /// The limits on mail refused it.
    Refused,
    /// Too many were waiting.
    Busy,
}

/// What became of a refresh token.
#[derive(Debug, Clone, Copy)]
pub enum RefreshOutcome {
    Rotated,
    /// The same successor once more.
    Repeated,
    /// It was spent long ago: its session was ended.
    Reused,
    /// Its session was over.
    Ended,
    Invalid,
}

impl MailKind {
    const fn label(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Alert => "alert",
        }
    }
}

impl MailOutcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Busy => "busy",
        }
    }
}

impl RefreshOutcome {
    const ALL: [Self; 5] = [Self::Rotated, Self::Repeated, Self::Reused, Self::Ended, Self::Invalid];

    const fn label(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Repeated => "repeated",
            Self::Reused => "reused",
            Self::Ended => "ended",
            Self::Invalid => "invalid",
        }
    }
}

impl AuthMetrics {
    pub fn new(scope: &Scope) -> Self {
        use MailKind::{Alert, SignIn};
        use MailOutcome::{Busy, Failed, Refused, Sent};
        // Alerts are neither limited nor does anybody wait for a place for one.
        let mails = [
            (SignIn, Sent),
            (SignIn, Failed),
            (SignIn, Refused),
            (SignIn, Busy),
            (Alert, Sent),
            (Alert, Failed),
        ];
        Self {
            prefetches: scope.counter(
                "magic_link_prefetch",
                "Sign-in links tried by a device that did not ask for them, most likely a mail scanner",
            ),
            mails: scope
                .counters("mails", "Mails by kind and outcome", ["kind", "outcome"])
                .from_zero(mails.map(|(kind, outcome)| [kind.label(), outcome.label()])),
            refreshes: scope
                .counters("refreshes", "Refresh tokens by what became of them", ["outcome"])
                .from_zero(RefreshOutcome::ALL.map(|outcome| [outcome.label()])),
        }
    }

    pub fn mail(&self, kind: MailKind, outcome: MailOutcome) {
        self.mails.count([kind.label(), outcome.label()]);
    }

    pub fn refresh(&self, outcome: RefreshOutcome) {
        self.refreshes.count([outcome.label()]);
    }
}
