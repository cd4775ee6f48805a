//! The books: payments that arrived, what went back of them, what is disputed, and the ledger of all of it.

pub(crate) mod disputes;
pub(crate) mod ledger;
pub(crate) mod payments;
pub(crate) mod refunds;
