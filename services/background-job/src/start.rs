//! Starting jobs: one for each paid order, for ever the same; an operator's own; and those that only plan.

use quire_fault::{Fault, Rule, Violation};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, Set};
use serde_json::json;
use uuid::Uuid;

use crate::error::JobError;
use crate::events::Kind;
use crate::peers::Documents;
use crate::priority;
use crate::query::{self, Caller};
use crate::store::entity::{job, lease, slot};
use crate::store::{Change, Purpose, Status, Store};

/// Namespace of the ids of paid jobs: a random UUID, fixed for ever.
const ORDERS: Uuid = Uuid::from_u128(0x6d1f_2a6e_0c57_4f0b_9a35_8e41_c7d2_b390);

/// What a job is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub purpose: Purpose,
    /// `None` for an operator's job, and for one that only plans.
    pub order_id: Option<String>,
    pub document_id: String,
    pub user_id: String,
    pub pages: i32,
}

impl NewJob {
    /// # Errors
    /// Every rule that is broken.
    pub fn check(self) -> Result<Self, JobError> {
        let texts = [
            ("order_id", self.order_id.as_deref().unwrap_or("-")),
            ("document_id", &self.document_id),
            ("user_id", &self.user_id),
        ];
        let mut violations: Vec<Violation> =
            texts.iter().filter_map(|(field, text)| Violation::text_length(field, text, 1, 100)).collect();
        if self.pages < 1 {
            violations.push(Violation::new("pages", Rule::GreaterThanEqual(1)));
        }
        if violations.is_empty() { Ok(self) } else { Err(JobError::Invalid(violations)) }
    }
}

/// The id of the job of an order: known before it is stored, so that a caller who lost the answer gets the same.
pub fn id_of_order(order_id: &str) -> String {
    Uuid::new_v5(&ORDERS, order_id.as_bytes()).to_string()
}

/// What came of storing a job.
pub enum Begun {
    /// It is stored once the change is handed to [`commit`].
    New(Box<Change>),
    /// The same order has this job already, or the document has this open one of the same purpose without an order.
    Known(String),
}

/// Stores a job with its first event, unless it is there. Gives its id and whether this call made it.
///
/// # Errors
/// The database is gone.
pub async fn start(store: &Store, new: NewJob) -> Result<(String, bool), DbErr> {
    match begin(store, new).await? {
        Begun::New(change) => Ok((commit(store, *change).await?, true)),
        Begun::Known(id) => Ok((id, false)),
    }
}

/// Opens the change that stores a job.
///
/// # Errors
/// As [`start`].
pub async fn begin(store: &Store, new: NewJob) -> Result<Begun, DbErr> {
    loop {
        if let Some(begun) = try_begin(store, &new).await? {
            return Ok(begun);
        }
    }
}

/// `None`: the open job that it met has ended since.
async fn try_begin(store: &Store, new: &NewJob) -> Result<Option<Begun>, DbErr> {
    let id = match &new.order_id {
        Some(order_id) => id_of_order(order_id),
        None => store.world.id(),
    };
    let at = store.world.now();
    store.world.reach("job.start.before_insert");
    let tx = store.database.begin_write().await?;
    let row = job::ActiveModel {
        id: Set(id.clone()),
        order_id: Set(new.order_id.clone()),
        document_id: Set(new.document_id.clone()),
        user_id: Set(new.user_id.clone()),
        pages: Set(new.pages),
        status: Set(Status::Queued.name().to_owned()),
        step: Set("queued".to_owned()),
        sections_done: Set(0),
        sections_total: Set(0),
        percent: Set(0),
        attempt: Set(0),
        step_retries: Set(0),
        crash_count: Set(0),
        run_at: Set(0),
        cancel_requested_at: Set(None),
        failure: Set(String::new()),
        counted_pages: Set(0),
        last_seq: Set(0),
        created_at: Set(at.unix_micros()),
        finished_at: Set(None),
        stalls: Set(0),
        stalled_since: Set(None),
        part_pages: Set(0),
        refunded_at: Set(None),
        priority: Set(match new.purpose {
            Purpose::Document => priority::DEFAULT,
            Purpose::Outline => priority::OUTLINE,
        }),
        pause_requested_at: Set(None),
        paused_at: Set(None),
        pause_reason: Set(String::new()),
        events_pruned_at: Set(None),
        purpose: Set(new.purpose.name().to_owned()),
    };
    match job::Entity::insert(row).exec_without_returning(&tx).await {
        Ok(_) => {}
        Err(error) if quire_database::is_unique_violation(&error) => {
            drop(tx);
            let known = match &new.order_id {
                Some(_) => Some(id),
                None => open_job(store, &new.document_id, new.purpose).await?.map(|open| open.id),
            };
            return Ok(known.map(Begun::Known));
        }
        Err(error) => return Err(error),
    }
    let lease = lease::ActiveModel {
        job_id: Set(id.clone()),
        epoch: Set(0),
        boot_id: Set(String::new()),
        worker: Set(String::new()),
        expires_at: Set(0),
    };
    lease::Entity::insert(lease).exec_without_returning(&tx).await?;
    let slot = slot::ActiveModel { user_id: Set(new.user_id.clone()), served_at: Set(0) };
    let once = OnConflict::column(slot::Column::UserId).do_nothing().to_owned();
    slot::Entity::insert(slot).on_conflict(once).exec_without_returning(&tx).await?;
    let mut change = Change::new(store, tx, &id, at);
    change.event(Kind::Queued, json!({ "pages": new.pages }));
    Ok(Some(Begun::New(Box::new(change))))
}

/// Stores what was begun. Gives the job's id.
///
/// # Errors
/// As [`start`].
pub async fn commit(store: &Store, mut change: Change) -> Result<String, DbErr> {
    let id = change.job_id().to_owned();
    change.call();
    store.world.reach("job.start.inserted");
    change.commit().await?;
    store.world.reach("job.start.committed");
    tracing::info!(job_id = id, "job started");
    Ok(id)
}

/// The job of a document that the caller paid for; for an operator, the open job of the document or a new one.
///
/// # Errors
/// [`JobError::PaymentRequired`], or the document service refuses the operator.
pub async fn generate(
    store: &Store,
    documents: &Documents,
    caller: &Caller,
    document_id: &str,
) -> Result<job::Model, JobError> {
    if !query::is_id(document_id) {
        return Err(JobError::NotFound);
    }
    if let Caller::Owner(user_id) = caller {
        let paid = job::Entity::find()
            .filter(job::Column::DocumentId.eq(document_id))
            .filter(job::Column::UserId.eq(user_id))
            .filter(job::Column::OrderId.is_not_null())
            // Their money goes back: all of it, or what was not delivered.
            .filter(job::Column::Status.is_not_in([Status::Failed.name(), Status::Cancelled.name()]))
            .order_by_desc(job::Column::CreatedAt)
            .one(store.database.reader())
            .await?;
        return paid.ok_or(JobError::PaymentRequired);
    }
    if let Some(open) = open_job(store, document_id, Purpose::Document).await? {
        return Ok(open);
    }
    let brief = documents.brief(document_id).await.map_err(|status| JobError::Peer(Fault::from(&status)))?;
    let document = brief.document.ok_or(JobError::NotFound)?;
    let new = NewJob {
        purpose: Purpose::Document,
        order_id: None,
        document_id: document_id.to_owned(),
        user_id: document.user_id,
        pages: document.target_pages,
    };
    let (id, _) = start(store, new.check()?).await?;
    store.job(&id).await?.ok_or(JobError::NotFound)
}

async fn open_job(store: &Store, document_id: &str, purpose: Purpose) -> Result<Option<job::Model>, DbErr> {
    job::Entity::find()
        .filter(job::Column::DocumentId.eq(document_id))
        .filter(job::Column::Purpose.eq(purpose.name()))
        .filter(job::Column::FinishedAt.is_null())
        .order_by_desc(job::Column::CreatedAt)
        .one(store.database.reader())
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_order_never_changes() {
        assert_eq!(
            id_of_order("0198f000-0000-7000-8000-000000000001"),
            id_of_order("0198f000-0000-7000-8000-000000000001")
        );
        assert_ne!(id_of_order("a"), id_of_order("b"));
        assert_eq!(&id_of_order("a")[14..15], "5");
    }

    #[test]
    fn every_broken_rule_is_reported() {
        let new = NewJob {
            purpose: Purpose::Document,
            order_id: Some(String::new()),
            document_id: String::new(),
            user_id: "u".to_owned(),
            pages: 0,
        };
        let Err(JobError::Invalid(violations)) = new.check() else { panic!("accepted") };
        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["order_id", "document_id", "pages"]);
    }
}
