//! Where a document stands, and which moves are allowed.

/// draft -> payment_pending -> queued -> generating -> completed | failed | cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Draft,
    PaymentPending,
    Queued,
    Generating,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::Draft,
        Self::PaymentPending,
        Self::Queued,
        Self::Generating,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// A job holds the document.
    pub const ACTIVE: [Self; 2] = [Self::Queued, Self::Generating];
    /// The customer may no longer remove it.
    pub const HELD: [Self; 3] = [Self::PaymentPending, Self::Queued, Self::Generating];
    /// From these a document can be ordered; ordering twice is the same as once.
    pub const ORDERABLE: [Self; 2] = [Self::Draft, Self::PaymentPending];
    /// From these a new job may take the document: a paid one, or an operator's regeneration.
    pub const ATTACHABLE: [Self; 5] =
        [Self::Draft, Self::PaymentPending, Self::Completed, Self::Failed, Self::Cancelled];
    /// No job has had the document yet.
    pub const UNWRITTEN: [Self; 2] = [Self::Draft, Self::PaymentPending];

    /// The name in the database and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::PaymentPending => "payment_pending",
            Self::Queued => "queued",
            Self::Generating => "generating",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether the running job may report `next` from here. Reporting the present status again is allowed:
    /// a report whose answer was lost is sent twice.
    pub fn may_report(self, next: Self) -> bool {
        match next {
            Self::Generating => matches!(self, Self::Queued | Self::Generating),
            Self::Completed => matches!(self, Self::Generating | Self::Completed),
            Self::Failed => matches!(self, Self::Queued | Self::Generating | Self::Failed),
            Self::Cancelled => matches!(self, Self::Queued | Self::Generating | Self::Cancelled),
            Self::Draft | Self::PaymentPending | Self::Queued => false,
        }
    }
}

/// The names of several statuses, for a filter.
pub fn names(statuses: &[Status]) -> Vec<&'static str> {
    statuses.iter().map(|status| status.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_reports_forwards_only() {
        let allowed: Vec<(Status, Status)> = Status::ALL
            .into_iter()
            .flat_map(|from| Status::ALL.map(|next| (from, next)))
            .filter(|(from, next)| from != next && from.may_report(*next))
            .collect();
        use Status::{Cancelled, Completed, Failed, Generating, Queued};
        assert_eq!(
            allowed,
            [
                (Queued, Generating),
                (Queued, Failed),
                (Queued, Cancelled),
                (Generating, Completed),
                (Generating, Failed),
                (Generating, Cancelled),
            ]
        );
    }

    #[test]
    fn every_name_is_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.name()), Some(status));
        }
    }
}
