//! Outlines before the order: a job that only plans, for whoever owns a document that is not ordered yet. It costs its
//! customer nothing, so there are only so many a day.

use std::time::Duration;

use quire_clock::Timestamp;
use quire_fault::Fault;
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
    if !query::is_id(document_id) {
        return Err(JobError::NoDocument);
    }
    let brief = documents.brief(document_id).await.map_err(|status| JobError::Peer(Fault::from(&status)))?;
    let document =
        brief.document.filter(|document| caller.may_see(&document.user_id)).ok_or(JobError::NoDocument)?;
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
        user_id: document.user_id,
        pages: document.target_pages,
    };
    let id = match start::begin(store, new.check()?).await? {
        Begun::New(change) => {
            if *caller != Caller::Operator {
                limit(&change, per_day).await?;
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
        .filter(job::Column::Kind.eq(Purpose::Outline.name()))
        .filter(job::Column::Status.eq(Status::Completed.name()))
        .order_by_desc(job::Column::CreatedAt)
        .one(store.database.reader())
        .await
}

/// Whether the job that a change begins is still within its user's day.
async fn limit(change: &Change, per_day: u32) -> Result<(), JobError> {
    let job = change.job().await?.ok_or(JobError::NotFound)?;
    // Two that come at once are counted one after the other.
    fair::lock_user(&change.tx, &job.user_id).await?;
    let since = change.at.minus(DAY);
    let begun: Vec<i64> = job::Entity::find()
        .select_only()
        .column(job::Column::CreatedAt)
        .filter(job::Column::UserId.eq(&job.user_id))
        .filter(job::Column::CreatedAt.gt(since.unix_micros()))
        .filter(job::Column::Kind.eq(Purpose::Outline.name()))
        .order_by_asc(job::Column::CreatedAt)
        .into_tuple()
        .all(&change.tx)
        .await?;
    let over = begun.len().saturating_sub(usize::try_from(per_day).unwrap_or(usize::MAX));
    // The own one is among them.
    let Some(last) = over.checked_sub(1) else { return Ok(()) };
    let free_at = begun.get(last).map_or(change.at, |begun| Timestamp::from_unix_micros(*begun).plus(DAY));
    let wait = free_at.unix_micros().saturating_sub(change.at.unix_micros());
    let retry_after = Duration::from_micros(u64::try_from(wait).unwrap_or_default());
    Err(JobError::TooManyOutlines { per_day, retry_after })
}
