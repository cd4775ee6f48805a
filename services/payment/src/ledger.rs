//! Double-entry bookkeeping of what was paid and what went back.
//!
//! Accounts: `provider` (money that the provider holds for us), `sales` (earned), `refunds_due` (owed to
//! customers), `suspense` (arrived, but nobody knows for what). Every posting sums to zero.

use quire_clock::World;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{DatabaseTransaction, DbErr, EntityTrait};

use crate::store::entity::ledger;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    Provider,
    Sales,
    RefundsDue,
    Suspense,
}

impl Account {
    fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Sales => "sales",
            Self::RefundsDue => "refunds_due",
            Self::Suspense => "suspense",
        }
    }
}

/// An amount that moves from one account to another.
pub(crate) struct Posting<'a> {
    /// What it is about: `payment:<id>`, `reversal:<order>`, `refund:<id>`. The same key is posted once.
    pub(crate) key: String,
    pub(crate) order_id: &'a str,
    pub(crate) debit: Account,
    pub(crate) credit: Account,
    pub(crate) amount_minor: i64,
    pub(crate) currency: &'a str,
}

/// Posts both sides, or nothing if the key was posted before.
pub(crate) async fn post(
    txn: &DatabaseTransaction,
    world: &World,
    posting: Posting<'_>,
) -> Result<(), DbErr> {
    let at = world.now().unix_micros();
    let row = |account: Account, amount_minor: i64| ledger::ActiveModel {
        event_key: Set(posting.key.clone()),
        account: Set(account.name().to_owned()),
        order_id: Set(posting.order_id.to_owned()),
        amount_minor: Set(amount_minor),
        currency: Set(posting.currency.to_owned()),
        at: Set(at),
    };
    // i64::MIN has no opposite; no provider sends it.
    let credit = posting.amount_minor.checked_neg().unwrap_or(i64::MAX);
    let rows = [row(posting.debit, posting.amount_minor), row(posting.credit, credit)];
    let conflict =
        OnConflict::columns([ledger::Column::EventKey, ledger::Column::Account]).do_nothing().to_owned();
    ledger::Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(txn).await.map(|_| ())
}
