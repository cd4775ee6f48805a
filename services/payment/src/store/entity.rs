//! The tables as SeaORM sees them.

pub(crate) mod audit;
pub(crate) mod disputes;
pub(crate) mod inbox;
pub(crate) mod ledger;
pub(crate) mod orders;
pub(crate) mod outbox;
pub(crate) mod payments;
pub(crate) mod refunds;
