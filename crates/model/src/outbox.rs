//! What the outbox of payment holds: `services/payment/src/outbox.rs`.
//!
//! An epoch is only ever compared with the one in its row. So the model keeps no numbers: a relay remembers
//! whether its epoch is still the row's, see [`crate::relay`].

/// Which refund of an order. Each has an intent of its own, which is its idempotency key at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefundOf {
    /// `refund:<order>`: what was paid and not delivered.
    Order,
    /// `refund:<order>:<payment>`: a second payment.
    Extra,
    /// The customer wants the money back, and an administrator has agreed.
    Request,
}

impl RefundOf {
    pub const ALL: [Self; 3] = [Self::Order, Self::Extra, Self::Request];

    pub fn index(self) -> usize {
        self as usize
    }
}

/// What a task is for. Unique in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intent {
    StartJob,
    CancelJob,
    Refund(RefundOf),
}

impl Intent {
    pub const ALL: [Self; 5] = [
        Self::StartJob,
        Self::CancelJob,
        Self::Refund(RefundOf::Order),
        Self::Refund(RefundOf::Extra),
        Self::Refund(RefundOf::Request),
    ];

    fn index(self) -> usize {
        match self {
            Self::StartJob => 0,
            Self::CancelJob => 1,
            Self::Refund(of) => 2 + of.index(),
        }
    }
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Row {
    #[default]
    Absent,
    /// Nobody has ever tried.
    Fresh,
    /// `leased`: a lease runs.
    Tried {
        leased: bool,
    },
    Done,
}

impl Row {
    /// Whether a relay may claim it.
    pub fn is_due(self) -> bool {
        matches!(self, Self::Fresh | Self::Tried { leased: false })
    }
}

/// The rows of one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Outbox([Row; Intent::ALL.len()]);

impl Outbox {
    pub fn row(&self, intent: Intent) -> Row {
        self.0[intent.index()]
    }

    pub fn set(&mut self, intent: Intent, row: Row) {
        self.0[intent.index()] = row;
    }

    /// The same intent again changes nothing.
    pub fn enqueue(&mut self, intent: Intent) {
        if self.row(intent) == Row::Absent {
            self.set(intent, Row::Fresh);
        }
    }

    /// Ends a lease: it ran out, or its holder gave the task back.
    pub fn release(&mut self, intent: Intent) {
        if self.row(intent) == (Row::Tried { leased: true }) {
            self.set(intent, Row::Tried { leased: false });
        }
    }

    /// Forgets which rows were never tried.
    pub fn forget_tries(&mut self) {
        for row in &mut self.0 {
            if *row == Row::Fresh {
                *row = Row::Tried { leased: false };
            }
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|row| matches!(row, Row::Absent | Row::Done))
    }
}
