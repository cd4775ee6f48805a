//! What is no longer needed, deleted now and then: events, recorded calls and delivered messages of jobs that ended some
//! days ago, and what the steps of delivered jobs hold, since the document service has it. The jobs stay. And outlines that
//! wait for their customers too long are approved.

use std::time::Duration;

use quire_clock::Timestamp;
use quire_database::now;
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use tokio_util::sync::CancellationToken;

use crate::approve;
use crate::store::entity::{event, job, outbox, recording, step};
use crate::store::{Purpose, Status, Store};

const PAUSE: Duration = Duration::from_secs(3600);
/// Jobs whose events are deleted before others may write again.
const BATCH: u64 = 50;

pub struct Janitor {
    pub store: Store,
    /// How long events, recorded calls and delivered messages are kept after the end of their job.
    pub retention: Duration,
    /// How long a proposed outline waits for its customer.
    pub outline_review: Duration,
}

impl Janitor {
    /// Cleans up once at the start and then every hour, until the shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = self.look() => {}
                () = shutdown.cancelled() => return,
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn look(&self) {
        if let Err(error) = self.clean_up().await {
            quire_fault::log_internal("background-job", &error);
        }
        match approve::overdue(&self.store, self.outline_review).await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "outlines that nobody answered are written as they are"),
            Err(error) => quire_fault::log_internal("background-job", &error),
        }
    }

    async fn clean_up(&self) -> Result<(), DbErr> {
        let messages = self.forget_messages().await?;
        let mut jobs = 0;
        loop {
            match self.forget_events().await? {
                0 => break,
                some => jobs += some,
            }
        }
        tracing::debug!(messages, jobs, "cleaned up");
        Ok(())
    }

    async fn forget_messages(&self) -> Result<u64, DbErr> {
        let tx = self.store.database.begin_write().await?;
        let before = now(&tx).await?.minus(self.retention);
        let forgotten = outbox::Entity::delete_many()
            .filter(outbox::Column::DoneAt.lte(before.unix_micros()))
            .exec(&tx)
            .await?;
        tx.commit().await?;
        Ok(forgotten.rows_affected)
    }

    /// The events, recorded calls and contents of some jobs; gives how many jobs.
    async fn forget_events(&self) -> Result<u64, DbErr> {
        let at: Timestamp = self.store.world.now();
        let tx = self.store.database.begin_write().await?;
        let ended: Vec<String> = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::EventsPrunedAt.is_null())
            .filter(job::Column::FinishedAt.lte(at.minus(self.retention).unix_micros()))
            .limit(BATCH)
            .into_tuple()
            .all(&tx)
            .await?;
        event::Entity::delete_many().filter(event::Column::JobId.is_in(&ended)).exec(&tx).await?;
        recording::Entity::delete_many().filter(recording::Column::JobId.is_in(&ended)).exec(&tx).await?;
        // Of a job that failed, an operator may still need them.
        let delivered = Query::select()
            .column(job::Column::Id)
            .from(job::Entity)
            .and_where(job::Column::Id.is_in(&ended))
            .and_where(job::Column::Status.is_in([Status::Completed.name(), Status::Cancelled.name()]))
            // A plan from before the order is not bought again by the order's job, whenever that comes.
            .and_where(job::Column::Purpose.eq(Purpose::Document.name()))
            .to_owned();
        step::Entity::update_many()
            .col_expr(step::Column::Content, Expr::value(None::<String>))
            .filter(step::Column::Content.is_not_null())
            .filter(step::Column::JobId.in_subquery(delivered))
            .exec(&tx)
            .await?;
        let pruned = job::Entity::update_many()
            .col_expr(job::Column::EventsPrunedAt, Expr::value(at.unix_micros()))
            .filter(job::Column::Id.is_in(&ended))
            .exec(&tx)
            .await?;
        tx.commit().await?;
        Ok(pruned.rows_affected)
    }
}
