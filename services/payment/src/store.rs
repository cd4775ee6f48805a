//! Reads and writes of orders, inbox and audit that several rules share.

pub(crate) mod entity;

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};

use entity::inbox::{self, InboxStatus};
use entity::orders::{self, OrderStatus};
use entity::outbox;

/// Inserts an order unless the document has a live one. Tells whether it did.
pub(crate) async fn insert_order(txn: &DatabaseTransaction, order: &orders::Model) -> Result<bool, DbErr> {
    let insert = orders::Entity::insert(order.clone().into_active_model());
    let rows =
        insert.on_conflict(OnConflict::new().do_nothing().to_owned()).exec_without_returning(txn).await?;
    Ok(rows == 1)
}

pub(crate) async fn order(
    connection: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<orders::Model>, DbErr> {
    orders::Entity::find_by_id(id).one(connection).await
}

/// The order, locked until the end of the transaction. On SQLite the transaction itself is the lock.
pub(crate) async fn lock_order(txn: &DatabaseTransaction, id: &str) -> Result<Option<orders::Model>, DbErr> {
    orders::Entity::find_by_id(id).lock_exclusive().one(txn).await
}

/// The one order of a document that is or may still be paid.
pub(crate) async fn live_order(
    connection: &impl ConnectionTrait,
    document_id: &str,
) -> Result<Option<orders::Model>, DbErr> {
    orders::Entity::find()
        .filter(orders::Column::DocumentId.eq(document_id))
        .filter(orders::Column::Status.is_in(OrderStatus::LIVE))
        .one(connection)
        .await
}

/// Orders of a user with ids below `before`, newest first.
pub(crate) async fn orders_of_user(
    connection: &impl ConnectionTrait,
    user_id: &str,
    before: Option<&str>,
    limit: u64,
) -> Result<Vec<orders::Model>, DbErr> {
    let mut select = orders::Entity::find().filter(orders::Column::UserId.eq(user_id));
    if let Some(before) = before {
        select = select.filter(orders::Column::Id.lt(before));
    }
    // UUIDv7: the order of ids is the order of time.
    select.order_by_desc(orders::Column::Id).limit(limit).all(connection).await
}

/// Orders whose payment is still to come and that nobody has checked since `moment`, the longest unchecked first.
pub(crate) async fn unsettled_orders(
    connection: &impl ConnectionTrait,
    moment: i64,
    limit: u64,
) -> Result<Vec<orders::Model>, DbErr> {
    orders::Entity::find()
        .filter(orders::Column::Status.is_in(OrderStatus::UNSETTLED))
        .filter(orders::Column::CheckedAt.lte(moment))
        .order_by_asc(orders::Column::CheckedAt)
        .order_by_asc(orders::Column::Id)
        .limit(limit)
        .all(connection)
        .await
}

/// Notes that an order is being checked. `false`: another process has begun to since it was read.
pub(crate) async fn claim_check(
    txn: &DatabaseTransaction,
    order: &orders::Model,
    now: i64,
) -> Result<bool, DbErr> {
    let columns = orders::ActiveModel { checked_at: Set(now), ..Default::default() };
    let updated = orders::Entity::update_many()
        .set(columns)
        .filter(orders::Column::Id.eq(&order.id))
        .filter(orders::Column::CheckedAt.eq(order.checked_at))
        .exec(txn)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Inserts an event unless it is there. Tells whether it did. A concurrent insert of the same event is waited
/// for, so that `false` means that the event is stored for good.
pub(crate) async fn insert_event(txn: &DatabaseTransaction, event: inbox::Model) -> Result<bool, DbErr> {
    let conflict = OnConflict::column(inbox::Column::EventId).do_nothing().to_owned();
    let insert = inbox::Entity::insert(event.into_active_model()).on_conflict(conflict);
    Ok(insert.exec_without_returning(txn).await? == 1)
}

pub(crate) async fn event(
    connection: &impl ConnectionTrait,
    event_id: &str,
) -> Result<Option<inbox::Model>, DbErr> {
    inbox::Entity::find_by_id(event_id).one(connection).await
}

pub(crate) async fn finish_event(
    txn: &DatabaseTransaction,
    event_id: &str,
    status: InboxStatus,
    reason: &str,
) -> Result<(), DbErr> {
    let row = inbox::ActiveModel {
        event_id: Set(event_id.to_owned()),
        status: Set(status),
        reason: Set(reason.to_owned()),
        ..Default::default()
    };
    row.update(txn).await.map(|_| ())
}

/// What a parked event waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Awaited<'a> {
    Order(&'a str),
    Payment(&'a str),
}

/// The events that came before what they are about.
pub(crate) async fn parked_events(
    txn: &DatabaseTransaction,
    awaited: Awaited<'_>,
) -> Result<Vec<inbox::Model>, DbErr> {
    let awaited = match awaited {
        Awaited::Order(id) => inbox::Column::OrderId.eq(id),
        Awaited::Payment(id) => inbox::Column::PaymentId.eq(id),
    };
    inbox::Entity::find()
        .filter(awaited)
        .filter(inbox::Column::Status.eq(InboxStatus::Parked))
        .order_by_asc(inbox::Column::ReceivedAt)
        .all(txn)
        .await
}

/// Makes whoever parks an event of an order or payment and whoever stores that order or payment follow each other:
/// without it both could look before the other has committed, and the event would sleep for ever. On SQLite write
/// transactions follow each other anyway.
pub(crate) async fn serialize_on(txn: &DatabaseTransaction, id: &str) -> Result<(), DbErr> {
    if txn.get_database_backend() != sea_orm::DatabaseBackend::Postgres {
        return Ok(());
    }
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    let statement = sea_orm::Statement::from_sql_and_values(txn.get_database_backend(), sql, [id.into()]);
    txn.execute_raw(statement).await.map(|_| ())
}

/// Whether the document is still to be released from an earlier order.
pub(crate) async fn release_is_pending(
    connection: &impl ConnectionTrait,
    document_id: &str,
) -> Result<bool, DbErr> {
    let row = outbox::Entity::find()
        .filter(outbox::Column::DocumentId.eq(document_id))
        .filter(outbox::Column::Kind.eq(outbox::TaskKind::ReleaseDocument))
        .filter(outbox::Column::DoneAt.is_null())
        .one(connection)
        .await?;
    Ok(row.is_some())
}
