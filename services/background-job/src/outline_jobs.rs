//! Outlines before the order: a job that only plans, for whoever owns a document that is not ordered yet. It costs its
//! customer nothing, so there are only so many a day.

use std::time::Duration;

use quire_clock::Timestamp;
use quire_proto::document::v1::DocumentStatus;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::error::JobError;
use crate::fair;
use crate::peers::Documents;
use crate::query::{self, Caller};
use crate::start::{self, Begun, NewJob};
use crate::store::entity::job;
use crate::store::{Change, Purpose, Status, Store};

const DAY: Duration = Duration::from_secs(86_400);

/// The job that plans the outline of a document: a new one, the one that is open, or, as long as the document is described
/// as it was then, the one that has done it.
///
/// # Errors
/// There is no such document of the caller's, it is ordered, or its owner has had as many today as `per_day`; 0: none are
/// planned. An operator is not counted.
pub async fn ask(
    store: &Store,
    documents: &Documents,
    caller: &Caller,
    document_id: &str,
    per_day: u32,
) -> Result<job::Model, JobError> {
    let seen = query::brief(documents, caller, document_id).await?;
    let (document, brief) = seen.ok_or(JobError::NoDocument)?;
    if ![DocumentStatus::Draft, DocumentStatus::PaymentPending].contains(&document.status()) {
        return Err(JobError::Ordered);
    }
    if per_day == 0 && *caller != Caller::Operator {
        return Err(JobError::NoOutlines);
    }
    if brief.previewed
        && let Some(done) = last_done(store, document_id).await?
    {
        return Ok(done);
    }
    let new = NewJob {
        purpose: Purpose::Outline,
        order_id: None,
        document_id: document_id.to_owned(),
        user_id: document.user_id.clone(),
        pages: document.target_pages,
    };
    let id = match start::begin(store, new.check()?).await? {
        Begun::New(change) => {
            if *caller != Caller::Operator {
                limit(&change, &document.user_id, per_day).await?;
            }
            start::commit(store, *change).await?
        }
        Begun::Known(id) => id,
    };
    store.job(&id).await?.ok_or(JobError::NotFound)
}

async fn last_done(store: &Store, document_id: &str) -> Result<Option<job::Model>, DbErr> {
    job::Entity::find()
        .filter(job::Column::DocumentId.eq(document_id))
        .filter(job::Column::Purpose.eq(Purpose::Outline.name()))
        .filter(job::Column::Status.eq(Status::Completed.name()))
        .order_by_desc(job::Column::CreatedAt)
        .one(store.database.reader())
        .await
}

/// Whether the job that a change begins is still within its user's day.
async fn limit(change: &Change, user_id: &str, per_day: u32) -> Result<(), JobError> {
    // Two that come at once are counted one after the other.
    fair::lock_user(&change.tx, user_id).await?;
    let since = change.at.minus(DAY);
    let begun: Vec<i64> = job::Entity::find()
        .select_only()
        .column(job::Column::CreatedAt)
        .filter(job::Column::UserId.eq(user_id))
        .filter(job::Column::CreatedAt.gt(since.unix_micros()))
        .filter(job::Column::Purpose.eq(Purpose::Outline.name()))
        .order_by_asc(job::Column::CreatedAt)
        .into_tuple()
        .all(&change.tx)
        .await?;
    // The own one is among them. There is room again when the oldest of those that are too many is a day old.
    let allowed = usize::try_from(per_day).unwrap_or(usize::MAX);
    let Some(last) = begun.len().checked_sub(allowed.saturating_add(1)) else { return Ok(()) };
    let free_at = Timestamp::from_unix_micros(begun[last]).plus(DAY);
    let wait = free_at.unix_micros().saturating_sub(change.at.unix_micros());
    let retry_after = Duration::from_micros(u64::try_from(wait).unwrap_or_default());
    Err(JobError::TooManyOutlines { per_day, retry_after })
}
