//! The job context's database, and the one way to change a job.
//!
//! Every change to a job is a [`Change`]: a transaction that takes the job's lease row first and its job row
//! second, always in this order, appends events under numbers without gaps, and wakes whoever waits for them
//! after it is committed.

pub mod entity;

use std::sync::Arc;

use quire_clock::{Timestamp, World};
use quire_database::{Database, WriteTransaction};
use sea_orm::sea_query::{Expr, OnConflict, SimpleExpr};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, Set, UpdateMany};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use crate::error::Stop;
use crate::events::Kind;
use crate::lease::Lease;
use crate::wake::Wakes;
use entity::{event, job, lease, outbox, step};

/// Where a job stands, as its row says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
    Paused,
}

impl Status {
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled, Self::Paused];

    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What a job is to do, as its row says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The whole document.
    Document,
    /// Only its outline, before it is ordered.
    Outline,
}

impl Purpose {
    pub fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Outline => "outline",
        }
    }
}

impl job::Model {
    pub fn purpose(&self) -> Purpose {
        if self.purpose == Purpose::Outline.name() { Purpose::Outline } else { Purpose::Document }
    }

    pub fn status(&self) -> Status {
        Status::parse(&self.status).expect("rows hold only statuses that were written by name")
    }

    /// Pages that were paid, or ordered by an operator.
    pub fn ordered_pages(&self) -> u32 {
        u32::try_from(self.pages).unwrap_or(1).max(1)
    }

    /// Pages of the file that the customer got; 0 while there is none.
    pub fn delivered_pages(&self) -> i32 {
        match self.status() {
            Status::Completed => self.counted_pages,
            Status::Cancelled => self.part_pages,
            Status::Queued | Status::Running | Status::Failed | Status::Paused => 0,
        }
    }
}

/// The database and what is needed beside it. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub database: Database,
    pub world: World,
    /// Random at each start: a process that comes back under the same name must not pass for its old self.
    pub boot_id: Arc<str>,
    pub wakes: Wakes,
}

impl Store {
    pub fn new(database: Database, world: World) -> Self {
        let boot_id = Arc::from(world.id());
        Self { database, world, boot_id, wakes: Wakes::default() }
    }

    /// The job, whoever owns it.
    pub async fn job(&self, id: &str) -> Result<Option<job::Model>, DbErr> {
        job::Entity::find_by_id(id).one(self.database.reader()).await
    }

    /// The checkpoint of a step.
    pub async fn step(&self, job_id: &str, key: &str) -> Result<Option<step::Model>, DbErr> {
        step::Entity::find_by_id((job_id.to_owned(), key.to_owned())).one(self.database.reader()).await
    }

    /// Opens a change under a lease.
    ///
    /// # Errors
    /// [`Stop::LeaseLost`] when the job belongs to another attempt.
    pub async fn change(&self, lease: &Lease) -> Result<Change, Stop> {
        let turn = lease.turn.clone().lock_owned().await;
        let at = self.world.now();
        let tx = self.database.begin_write().await?;
        lease.hold(&tx).await?;
        Ok(Change { _turn: Some(turn), ..Change::new(self, tx, &lease.job_id, at) })
    }

    /// Opens a change of a job that nobody runs, or whoever runs it: waits for the lease row, so that no
    /// attempt writes at the same time.
    pub async fn change_unleased(&self, job_id: &str) -> Result<Change, DbErr> {
        let at = self.world.now();
        let tx = self.database.begin_write().await?;
        lease::Entity::update_many()
            .col_expr(lease::Column::JobId, Expr::col(lease::Column::JobId))
            .filter(lease::Column::JobId.eq(job_id))
            .exec(&tx)
            .await?;
        Ok(Change::new(self, tx, job_id, at))
    }
}

/// A transaction on one job.
pub struct Change {
    pub tx: WriteTransaction,
    job_id: String,
    /// When the change began: its events are stamped with it.
    pub at: Timestamp,
    update: UpdateMany<job::Entity>,
    events: Vec<(Kind, Value)>,
    wakes: Wakes,
    outbox: bool,
    called: bool,
    /// Of a change under a lease: until it is committed or dropped, the others of that lease wait.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Change {
    /// `tx` must hold the job's lease row, or have made it.
    pub fn new(store: &Store, tx: WriteTransaction, job_id: &str, at: Timestamp) -> Self {
        let update = job::Entity::update_many().filter(job::Column::Id.eq(job_id));
        Self {
            tx,
            job_id: job_id.to_owned(),
            at,
            update,
            events: Vec::new(),
            wakes: store.wakes.clone(),
            outbox: false,
            called: false,
            _turn: None,
        }
    }

    pub fn job_id(&self) -> &str {
        &self.job_id
    }

    /// The job as it is before the change.
    pub async fn job(&self) -> Result<Option<job::Model>, DbErr> {
        job::Entity::find_by_id(&self.job_id).one(&self.tx).await
    }

    /// Sets a column of the job when the change is committed.
    pub fn set(&mut self, column: job::Column, value: impl Into<SimpleExpr>) {
        let update = std::mem::replace(&mut self.update, job::Entity::update_many());
        self.update = update.col_expr(column, value.into());
    }

    /// The present step is done: what went wrong during it no longer counts.
    pub fn step_done(&mut self) {
        self.set(job::Column::StepRetries, 0);
        self.set(job::Column::CrashCount, 0);
        self.set(job::Column::Stalls, 0);
        self.set(job::Column::StalledSince, Expr::value(None::<i64>));
    }

    /// Appends an event.
    pub fn event(&mut self, kind: Kind, data: Value) {
        self.events.push((kind, data));
    }

    /// Once it is committed, every process looks at the job: whoever has it, and whoever may take it or another one.
    pub fn call(&mut self) {
        self.called = true;
    }

    /// Writes a checkpoint, in place of the one that was there.
    pub async fn checkpoint(&self, step: step::Model) -> Result<(), DbErr> {
        let row = step::ActiveModel {
            job_id: Set(self.job_id.clone()),
            step_key: Set(step.step_key),
            input_hash: Set(step.input_hash),
            status: Set(step.status),
            epoch: Set(step.epoch),
            content: Set(step.content),
            writer: Set(step.writer),
            input_tokens: Set(step.input_tokens),
            output_tokens: Set(step.output_tokens),
            done_at: Set(step.done_at),
            fallback: Set(step.fallback),
            refused_at: Set(step.refused_at),
            taken_from: Set(step.taken_from),
        };
        let replace = OnConflict::columns([step::Column::JobId, step::Column::StepKey])
            .update_columns([
                step::Column::InputHash,
                step::Column::Status,
                step::Column::Epoch,
                step::Column::Content,
                step::Column::Writer,
                step::Column::InputTokens,
                step::Column::OutputTokens,
                step::Column::DoneAt,
                step::Column::Fallback,
                step::Column::RefusedAt,
                step::Column::TakenFrom,
            ])
            .to_owned();
        step::Entity::insert(row).on_conflict(replace).exec_without_returning(&self.tx).await?;
        Ok(())
    }

    /// Leaves a message for another service. One of each kind for a job: a second one is dropped.
    pub async fn post(&mut self, kind: &str, payload: Value) -> Result<(), DbErr> {
        let row = outbox::ActiveModel {
            job_id: Set(self.job_id.clone()),
            kind: Set(kind.to_owned()),
            payload: Set(payload.to_string()),
            attempts: Set(0),
            next_at: Set(0),
            leased_until: Set(0),
            done_at: Set(None),
            dead_at: Set(None),
            last_error: Set(String::new()),
        };
        let once = OnConflict::columns([outbox::Column::JobId, outbox::Column::Kind]).do_nothing().to_owned();
        outbox::Entity::insert(row).on_conflict(once).exec_without_returning(&self.tx).await?;
        self.outbox = true;
        Ok(())
    }

    /// Commits, and wakes those who wait for what was written.
    pub async fn commit(mut self) -> Result<(), DbErr> {
        let count = i64::try_from(self.events.len()).expect("a change has few events");
        self.set(job::Column::LastSeq, {
            use sea_orm::ExprTrait;
            Expr::col(job::Column::LastSeq).add(count)
        });
        // This also takes the job's row, so that no other change can number events now.
        self.update.exec(&self.tx).await?;
        if count > 0 {
            let job = job::Entity::find_by_id(&self.job_id).one(&self.tx).await?;
            let last = job.ok_or_else(|| DbErr::RecordNotFound("the job is gone".to_owned()))?.last_seq;
            let rows = self.events.into_iter().zip(last - count + 1..).map(|((kind, data), seq)| {
                event::ActiveModel {
                    job_id: Set(self.job_id.clone()),
                    seq: Set(seq),
                    kind: Set(kind.name().to_owned()),
                    data: Set(data.to_string()),
                    at: Set(self.at.unix_micros()),
                }
            });
            event::Entity::insert_many(rows).exec_without_returning(&self.tx).await?;
        }
        self.tx.commit().await?;
        if count > 0 {
            // An error means that nobody watches.
            let _ = self.wakes.events.send(Arc::from(self.job_id.as_str()));
        }
        if self.called {
            self.wakes.call(&self.job_id);
        }
        if self.outbox {
            self.wakes.outbox.notify_waiters();
        }
        Ok(())
    }
}
