//! Double-entry bookkeeping of what was paid and what went back.

use quire_clock::World;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{DatabaseTransaction, DbErr, EntityTrait};

use crate::store::entity::ledger;

/// Where money is, or whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// Money that the provider holds for us.
    Provider,
    /// Earned.
    Sales,
    /// Owed to customers.
    RefundsDue,
    /// Arrived, but nobody knows for what.
    Suspense,
    /// Withheld by the provider while a dispute is open.
    Disputed,
}

impl Account {
    const ALL: [Self; 5] = [Self::Provider, Self::Sales, Self::RefundsDue, Self::Suspense, Self::Disputed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Sales => "sales",
            Self::RefundsDue => "refunds_due",
            Self::Suspense => "suspense",
            Self::Disputed => "disputed",
        }
    }

    /// The account with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|account| account.name() == name)
    }
}

/// Amounts that move between accounts in one go.
pub(crate) struct Posting<'a> {
    /// What it is about, such as `payment:<id>`. The same key is posted once.
    pub(crate) key: String,
    pub(crate) order_id: &'a str,
    pub(crate) currency: &'a str,
    /// Taken from each of these: credited.
    pub(crate) from: &'a [(Account, i64)],
    /// Given to: debited with the sum.
    pub(crate) to: Account,
}

/// Posts all sides, which sum to zero, or nothing if the key was posted before. Accounts with an amount of zero get no
/// row.
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
    let taken: Vec<_> = posting.from.iter().filter(|(_, amount)| *amount != 0).collect();
    let sum: i64 = taken.iter().map(|(_, amount)| amount).sum();
    if taken.is_empty() {
        return Ok(());
    }
    let credits = taken.iter().map(|(account, amount)| row(*account, -amount));
    let rows: Vec<_> = credits.chain([row(posting.to, sum)]).collect();
    let conflict =
        OnConflict::columns([ledger::Column::EventKey, ledger::Column::Account]).do_nothing().to_owned();
    ledger::Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(txn).await.map(|_| ())
}
