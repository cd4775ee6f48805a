//! The outbox: tasks for others, written in the transaction that causes them and done later, at least once.

use std::time::Duration;

use quire_clock::World;
use quire_database::Database;
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};

use crate::backoff::full_jitter;
use crate::error::PaymentError;
use crate::store::entity::orders;
use crate::store::entity::outbox::{self, Model as Row, TaskKind};

/// A claimed row is this worker's for so long. Longer than a send may take.
const LEASE: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After so many failures an operator is called, and tries become rare, except those to start a paid job.
const MANY_ATTEMPTS: u32 = 50;
/// What its receiver refuses for good is dead after so many tries, until an operator redrives it. The first may have met
/// a receiver in the middle of an update.
const MAX_REFUSALS: u32 = 10;
const LONGEST_RARE_WAIT: Duration = Duration::from_secs(60 * 60);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    StartJob {
        user_id: String,
        pages: i32,
    },
    ReleaseDocument,
    Refund {
        refund_id: String,
    },
    /// The money of an order went back while its job may run.
    CancelJob,
}

impl Task {
    fn kind(&self) -> TaskKind {
        match self {
            Self::StartJob { .. } => TaskKind::StartJob,
            Self::ReleaseDocument => TaskKind::ReleaseDocument,
            Self::Refund { .. } => TaskKind::Refund,
            Self::CancelJob => TaskKind::CancelJob,
        }
    }
}

/// The wish for the job of a paid order.
pub(crate) fn start_intent(order_id: &str) -> String {
    format!("start_job:{order_id}")
}

/// The wish that the document of an order may be changed again.
pub(crate) fn release_intent(order_id: &str) -> String {
    format!("release_document:{order_id}")
}

/// The wish that the job of an order stops.
pub(crate) fn cancel_intent(order_id: &str) -> String {
    format!("cancel_job:{order_id}")
}

/// Writes a task. The intent is unique: the same one again changes nothing.
pub(crate) async fn enqueue(
    txn: &DatabaseTransaction,
    world: &World,
    intent: String,
    order: &orders::Model,
    task: &Task,
) -> Result<(), PaymentError> {
    let row = outbox::ActiveModel {
        id: Set(world.id()),
        intent: Set(intent),
        order_id: Set(order.id.clone()),
        document_id: Set(order.document_id.clone()),
        kind: Set(task.kind()),
        payload: Set(serde_json::to_string(task).map_err(PaymentError::Task)?),
        attempts: Set(0),
        // Due at once.
        next_at: Set(0),
        lease_until: Set(0),
        lease_epoch: Set(0),
        created_at: Set(world.now().unix_micros()),
        key_round: Set(0),
        done_at: Set(None),
        last_error: Set(String::new()),
        dead_at: Set(None),
    };
    let conflict = OnConflict::column(outbox::Column::Intent).do_nothing().to_owned();
    outbox::Entity::insert(row).on_conflict(conflict).exec_without_returning(txn).await?;
    Ok(())
}

/// Wishes for the job of a paid order.
pub(crate) async fn wish_for_job(
    txn: &DatabaseTransaction,
    world: &World,
    order: &orders::Model,
) -> Result<(), PaymentError> {
    let task = Task::StartJob { user_id: order.user_id.clone(), pages: order.pages };
    enqueue(txn, world, start_intent(&order.id), order, &task).await
}

/// Takes tasks that are due, each under a lease with a new epoch. Two workers never get the same one while its
/// lease lasts.
pub(crate) async fn claim(database: &Database, limit: u64) -> Result<Vec<Row>, DbErr> {
    // Most of the time nothing is due, and then no write transaction is needed to find out.
    let now = quire_database::now(database.reader()).await?.unix_micros();
    if outbox::Entity::find().filter(due(now)).one(database.reader()).await?.is_none() {
        return Ok(Vec::new());
    }
    let txn = database.begin_write().await?;
    let now = quire_database::now(&txn).await?;
    let mut select = outbox::Entity::find()
        .filter(due(now.unix_micros()))
        .order_by_asc(outbox::Column::NextAt)
        .order_by_asc(outbox::Column::Id)
        .limit(limit);
    if database.is_postgres() {
        select = select.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    }
    let mut claimed = Vec::new();
    for mut row in select.all(&txn).await? {
        let columns = outbox::ActiveModel {
            lease_until: Set(now.plus(LEASE).unix_micros()),
            lease_epoch: Set(row.lease_epoch + 1),
            attempts: Set(row.attempts.saturating_add(1)),
            ..Default::default()
        };
        if update(&txn, &row, columns).await? {
            row.lease_epoch += 1;
            row.attempts = row.attempts.saturating_add(1);
            claimed.push(row);
        }
    }
    txn.commit().await?;
    Ok(claimed)
}

/// Marks a claimed task as done. `false`: the lease was lost and somebody else has the task.
pub(crate) async fn finish(txn: &DatabaseTransaction, world: &World, row: &Row) -> Result<bool, DbErr> {
    let columns = outbox::ActiveModel {
        done_at: Set(Some(world.now().unix_micros())),
        last_error: Set(String::new()),
        ..Default::default()
    };
    update(txn, row, columns).await
}

/// The idempotency key for the next call of the provider: the intent, and once that is used up, its rounds.
pub(crate) fn idempotency_key(row: &Row) -> String {
    match row.key_round {
        0 => row.intent.clone(),
        round => format!("{}:r{round}", row.intent),
    }
}

/// Why a task could not be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure<'a> {
    pub(crate) error: &'a str,
    /// Under the present idempotency key it never will.
    pub(crate) key_spent: bool,
    /// The receiver will never accept it as it is.
    pub(crate) for_good: bool,
    /// Nothing went wrong, something else must happen first: this was no try.
    pub(crate) too_early: bool,
}

/// Takes the wish for an order's job back, if no worker has it and it is not done. Answers whether it did: then no job
/// will ever start.
pub(crate) async fn withdraw(
    txn: &DatabaseTransaction,
    world: &World,
    order_id: &str,
) -> Result<bool, DbErr> {
    let now = quire_database::now(txn).await?.unix_micros();
    let columns = outbox::ActiveModel {
        done_at: Set(Some(world.now().unix_micros())),
        last_error: Set("withdrawn: the money went back".to_owned()),
        ..Default::default()
    };
    let updated = outbox::Entity::update_many()
        .set(columns)
        .filter(outbox::Column::Intent.eq(start_intent(order_id)))
        .filter(outbox::Column::DoneAt.is_null())
        // One that was sent before may have arrived although the answer was lost.
        .filter(outbox::Column::Attempts.eq(0))
        .filter(outbox::Column::LeaseUntil.lte(now))
        .exec(txn)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Tries a dead task again. `false`: it is not dead.
pub(crate) async fn redrive(txn: &DatabaseTransaction, id: &str) -> Result<bool, DbErr> {
    let columns = outbox::ActiveModel {
        dead_at: Set(None),
        // Not none: it may have been sent, and [`withdraw`] must know.
        attempts: Set(1),
        next_at: Set(0),
        lease_until: Set(0),
        ..Default::default()
    };
    let updated = outbox::Entity::update_many()
        .set(columns)
        .filter(outbox::Column::Id.eq(id))
        .filter(outbox::Column::DeadAt.is_not_null())
        .filter(outbox::Column::DoneAt.is_null())
        .exec(txn)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Wishes again for the job of a paid order that has none, whatever became of the first wish.
pub(crate) async fn wish_again(txn: &DatabaseTransaction, order_id: &str) -> Result<bool, DbErr> {
    let now = quire_database::now(txn).await?.unix_micros();
    let columns = outbox::ActiveModel {
        dead_at: Set(None),
        done_at: Set(None),
        next_at: Set(0),
        lease_until: Set(0),
        ..Default::default()
    };
    let updated = outbox::Entity::update_many()
        .set(columns)
        .col_expr(outbox::Column::LeaseEpoch, Expr::col(outbox::Column::LeaseEpoch).add(1))
        .filter(outbox::Column::Intent.eq(start_intent(order_id)))
        .filter(outbox::Column::LeaseUntil.lte(now))
        .exec(txn)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// What an order's refunds have waited for has happened.
pub(crate) async fn hurry_refunds(txn: &DatabaseTransaction, order_id: &str) -> Result<(), DbErr> {
    let columns = outbox::ActiveModel { next_at: Set(0), ..Default::default() };
    outbox::Entity::update_many()
        .set(columns)
        .filter(outbox::Column::OrderId.eq(order_id))
        .filter(outbox::Column::Kind.eq(TaskKind::Refund))
        .filter(outbox::Column::DoneAt.is_null())
        .exec(txn)
        .await
        .map(|_| ())
}

/// Whether a task was done.
pub(crate) async fn is_done(connection: &impl ConnectionTrait, intent: &str) -> Result<bool, DbErr> {
    let row = outbox::Entity::find().filter(outbox::Column::Intent.eq(intent)).one(connection).await?;
    Ok(row.is_none_or(|row| row.done_at.is_some()))
}

/// Gives a claimed task back after a failure, to be tried later, under a new idempotency key if the present one is
/// `key_spent`.
pub(crate) async fn postpone(
    database: &Database,
    world: &World,
    row: &Row,
    failure: Failure<'_>,
) -> Result<(), DbErr> {
    let Failure { error, key_spent, for_good, too_early } = failure;
    let wait = if too_early { full_jitter(world, LONGEST_WAIT, LONGEST_WAIT, 0) } else { wait(world, row) };
    let dead = for_good && failures_before(row) + 1 >= MAX_REFUSALS;
    if too_early {
        tracing::debug!(intent = row.intent, error, "outbox task waits");
    } else if dead || failures_before(row) >= MANY_ATTEMPTS {
        tracing::error!(
            intent = row.intent,
            attempts = row.attempts,
            dead,
            error,
            "outbox task keeps failing"
        );
    } else {
        tracing::warn!(intent = row.intent, attempts = row.attempts, error, "outbox task failed");
    }
    let txn = database.begin_write().await?;
    let now = quire_database::now(&txn).await?;
    let columns = outbox::ActiveModel {
        next_at: Set(now.plus(wait).unix_micros()),
        lease_until: Set(0),
        attempts: Set(row.attempts - i32::from(too_early)),
        key_round: Set(row.key_round.saturating_add(key_spent.into())),
        last_error: Set(error.to_owned()),
        dead_at: Set(dead.then(|| now.unix_micros())),
        ..Default::default()
    };
    // If the lease was lost, whoever has it now also decides about the next try.
    update(&txn, row, columns).await?;
    txn.commit().await
}

/// Failures before the present try.
fn failures_before(row: &Row) -> u32 {
    u32::try_from(row.attempts.saturating_sub(1)).unwrap_or_default()
}

fn wait(world: &World, row: &Row) -> Duration {
    let failures = failures_before(row);
    match failures.checked_sub(MANY_ATTEMPTS) {
        Some(beyond) if row.kind != TaskKind::StartJob => {
            full_jitter(world, LONGEST_WAIT, LONGEST_RARE_WAIT, beyond)
        }
        _ => full_jitter(world, FIRST_WAIT, LONGEST_WAIT, failures),
    }
}

/// Fenced: changes the row only in the epoch in which it was read.
async fn update(
    connection: &impl ConnectionTrait,
    row: &Row,
    columns: outbox::ActiveModel,
) -> Result<bool, DbErr> {
    let updated = outbox::Entity::update_many()
        .set(columns)
        .filter(outbox::Column::Id.eq(&row.id))
        .filter(outbox::Column::LeaseEpoch.eq(row.lease_epoch))
        .filter(outbox::Column::DoneAt.is_null())
        .exec(connection)
        .await?;
    Ok(updated.rows_affected == 1)
}

fn due(now: i64) -> Condition {
    Condition::all()
        .add(outbox::Column::DoneAt.is_null())
        .add(outbox::Column::DeadAt.is_null())
        .add(outbox::Column::NextAt.lte(now))
        .add(outbox::Column::LeaseUntil.lte(now))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quire_clock::Entropy;
    use quire_migrations::PaymentMigrator;
    use quire_testkit::Backend;
    use sea_orm::ConnectionTrait;

    use super::*;

    /// Draws the longest wait every time.
    struct Longest;

    impl Entropy for Longest {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0xff);
        }
    }

    fn row(kind: TaskKind, attempts: i32) -> Row {
        Row {
            id: "id".to_owned(),
            intent: "refund:o".to_owned(),
            order_id: "o".to_owned(),
            document_id: "d".to_owned(),
            kind,
            payload: String::new(),
            attempts,
            next_at: 0,
            lease_until: 0,
            lease_epoch: 0,
            created_at: 0,
            key_round: 0,
            done_at: None,
            last_error: String::new(),
            dead_at: None,
        }
    }

    #[test]
    fn the_wait_grows_to_an_hour_but_to_a_minute_for_paid_jobs() {
        let world = World::system().with_entropy(Arc::new(Longest));
        let longest = |kind, attempts| wait(&world, &row(kind, attempts)).as_millis();
        for kind in [TaskKind::Refund, TaskKind::ReleaseDocument, TaskKind::StartJob] {
            assert_eq!(longest(kind, 1), 500);
            assert_eq!(longest(kind, 50), 60_000);
        }
        assert_eq!(longest(TaskKind::Refund, 52), 120_000);
        assert_eq!(longest(TaskKind::ReleaseDocument, i32::MAX), 3_600_000);
        assert_eq!(longest(TaskKind::StartJob, i32::MAX), 60_000);
    }

    #[test]
    fn each_round_has_its_own_key() {
        let mut row = row(TaskKind::Refund, 1);
        assert_eq!(idempotency_key(&row), "refund:o");
        row.key_round = 2;
        assert_eq!(idempotency_key(&row), "refund:o:r2");
    }

    /// A database with one task in it.
    async fn with_a_task(backend: Backend, attempts: i32) -> (Database, quire_testkit::TestDatabase) {
        let file = backend.create().await;
        let settings = quire_database::Settings {
            url: file.url().to_owned(),
            schema: "payment".to_owned(),
            max_connections: 2,
        };
        let database = quire_database::open(&settings).await.unwrap();
        database.migrate::<PaymentMigrator>().await.unwrap();
        let task = row(TaskKind::Refund, attempts);
        outbox::Entity::insert(sea_orm::IntoActiveModel::into_active_model(task))
            .exec_without_returning(database.reader())
            .await
            .unwrap();
        (database, file)
    }

    async fn a_task_that_failed_a_thousand_times_is_still_tried(backend: Backend) {
        let (database, _file) = with_a_task(backend, 1000).await;
        let world = World::system();
        for round in 0..3 {
            let claimed = claim(&database, 16).await.unwrap();
            assert_eq!(claimed.len(), 1);
            assert_eq!((claimed[0].attempts, claimed[0].key_round), (1001 + round, round));
            let failure = Failure { error: "no", key_spent: true, for_good: false, too_early: false };
            postpone(&database, &world, &claimed[0], failure).await.unwrap();
            database.reader().execute_unprepared("UPDATE outbox SET next_at = 0").await.unwrap();
        }
    }

    async fn who_has_lost_the_lease_says_nothing_more_about_the_task(backend: Backend) {
        let (database, _file) = with_a_task(backend, 0).await;
        let world = World::system();
        let slow = claim(&database, 16).await.unwrap().remove(0);
        assert_eq!(claim(&database, 16).await.unwrap(), vec![], "its lease lasts");
        database.reader().execute_unprepared("UPDATE outbox SET lease_until = 0").await.unwrap();
        let quick = claim(&database, 16).await.unwrap().remove(0);
        let failure = Failure { error: "too late", key_spent: true, for_good: true, too_early: false };
        postpone(&database, &world, &slow, failure).await.unwrap();
        let txn = database.begin_write().await.unwrap();
        assert!(!finish(&txn, &world, &slow).await.unwrap());
        let stored = outbox::Entity::find_by_id("id").one(&txn).await.unwrap().unwrap();
        assert_eq!(stored, Row { lease_until: stored.lease_until, ..quick.clone() });
        assert!(finish(&txn, &world, &quick).await.unwrap());
        assert!(!finish(&txn, &world, &quick).await.unwrap(), "it is done");
        txn.commit().await.unwrap();
        assert_eq!(claim(&database, 16).await.unwrap(), vec![]);
    }

    async fn what_only_waits_has_not_failed(backend: Backend) {
        let (database, _file) = with_a_task(backend, 0).await;
        let world = World::system().with_entropy(Arc::new(Longest));
        for _ in 0..20 {
            let claimed = claim(&database, 16).await.unwrap().remove(0);
            assert_eq!(claimed.attempts, 1);
            let failure = Failure { error: "wait", key_spent: false, for_good: false, too_early: true };
            postpone(&database, &world, &claimed, failure).await.unwrap();
            database.reader().execute_unprepared("UPDATE outbox SET next_at = 0").await.unwrap();
        }
        // So one refusal is not yet the last.
        let claimed = claim(&database, 16).await.unwrap().remove(0);
        let failure = Failure { error: "no", key_spent: false, for_good: true, too_early: false };
        postpone(&database, &world, &claimed, failure).await.unwrap();
        let stored = outbox::Entity::find_by_id("id").one(database.reader()).await.unwrap().unwrap();
        assert_eq!((stored.dead_at, stored.attempts), (None, 1));
    }

    quire_testkit::on_both_databases!(
        a_task_that_failed_a_thousand_times_is_still_tried,
        who_has_lost_the_lease_says_nothing_more_about_the_task,
        what_only_waits_has_not_failed,
    );
}
