//! What the calls of models cost: prices, budgets and the ledger.
//!
//! Before each call the most that it can cost is reserved; afterwards it is booked with what the provider counted. A
//! reservation that does not fit into a budget is refused, so that no budget is ever passed. Amounts are millionths
//! of a US dollar, in whole numbers.

pub mod budget;
pub mod estimate;
pub mod ledger;
pub mod overspent;
pub mod price;
