//! Changes: one unit of state together with its audit rows, committed or not at all.
//!
//! All changes of a process go through one writer, which commits those that wait together (group commit): one
//! transaction, one flush to disk, many callers. Every transaction locks the head of the audit log first, so that
//! changes of all replicas happen one after the other, numbers in the log have no gaps, and nobody sees a number
//! before those below it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quire_clock::{Timestamp, World};
use quire_database::Database;
use quire_identity::Origin;
use sea_orm::{DatabaseTransaction, DbErr};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::audit::{Attempt, ChainKey, event};
use crate::error::AuthError;
use crate::store::{self, audit_event, audit_head};

/// Changes in one transaction.
const TOGETHER: usize = 64;
/// Changes that may wait for the writer.
const WAITING: usize = 1024;
/// How long a caller waits for a place among them.
const PATIENCE: Duration = Duration::from_secs(5);

/// A change of state. It may be applied more than once before it is committed, and must not reach outside the
/// transaction.
#[async_trait]
pub trait Change: Send + Sync + 'static {
    /// What the caller learns; a refusal is an outcome too, and its audit row is kept.
    type Outcome: Send + 'static;

    /// # Errors
    /// The database refused. Everything is taken back.
    async fn apply(&self, step: &mut Step<'_>) -> Result<Self::Outcome, DbErr>;
}

/// What changes are made with.
#[derive(Clone)]
pub struct Books {
    pub database: Database,
    pub world: World,
    pub chain: ChainKey,
}

/// The transaction a change is applied in.
pub struct Step<'a> {
    pub connection: &'a DatabaseTransaction,
    /// The same moment for all of one transaction.
    pub now: Timestamp,
    world: &'a World,
    ledger: &'a mut Ledger,
}

/// The audit rows of one transaction.
struct Ledger {
    chain: ChainKey,
    seq: i64,
    hash: String,
    rows: Vec<audit_event::Model>,
    announced: bool,
}

impl Step<'_> {
    /// Adds an audit row; `reason` is UPPER_SNAKE_CASE, and empty for a success. Answers its place in the log.
    pub fn record(&mut self, origin: &Origin, attempt: Attempt<'_>, reason: &str) -> i64 {
        let ledger = &mut *self.ledger;
        let mut row = event(self.world.id(), self.now, origin, attempt, reason);
        row.seq = ledger.seq + 1;
        row.hash = ledger.chain.hash(&ledger.hash, &row);
        (ledger.seq, ledger.hash) = (row.seq, row.hash.clone());
        ledger.rows.push(row);
        ledger.seq
    }

    pub fn world(&self) -> &World {
        self.world
    }

    /// The place that the next audit row will have.
    pub fn next_seq(&self) -> i64 {
        self.ledger.seq + 1
    }

    /// Says that verifiers must hear of this change at once.
    pub fn announce(&mut self) {
        self.ledger.announced = true;
    }
}

impl Books {
    /// Commits one change by itself, for whoever has no writer.
    ///
    /// # Errors
    /// The database refused.
    pub async fn commit<C: Change>(&self, change: C) -> Result<C::Outcome, AuthError> {
        let (reply, outcome) = oneshot::channel();
        let mut jobs: Vec<Box<dyn Queued>> = vec![Box::new(Job::new(change, reply))];
        match self.attempt(&mut jobs).await {
            Ok(_) => jobs.into_iter().for_each(|job| job.reply(Ok(()))),
            Err(failure) => return Err(failure.into_error().into()),
        }
        outcome.await.unwrap_or(Err(AuthError::Busy))
    }

    /// One transaction for all jobs. `true` if one of them is to be announced.
    async fn attempt(&self, jobs: &mut [Box<dyn Queued>]) -> Result<bool, Failure> {
        let transaction = self.database.begin_write().await.map_err(Failure::Outside)?;
        let audit_head::Model { seq, hash, .. } =
            store::lock_head(&transaction).await.map_err(Failure::Outside)?;
        let mut ledger = Ledger { chain: self.chain.clone(), seq, hash, rows: Vec::new(), announced: false };
        let now = self.world.now();
        for job in jobs {
            let mut step = Step { connection: &transaction, now, world: &self.world, ledger: &mut ledger };
            job.apply(&mut step).await.map_err(Failure::Inside)?;
        }
        store::append(&transaction, ledger.rows).await.map_err(Failure::Inside)?;
        // A commit whose answer is lost may have happened: it is not tried again.
        transaction.commit().await.map_err(Failure::Outside)?;
        Ok(ledger.announced)
    }
}

/// Where a transaction failed.
enum Failure {
    /// In one of the changes: the others may be good.
    Inside(DbErr),
    /// At its beginning or its end: none is better off alone.
    Outside(DbErr),
}

impl Failure {
    fn into_error(self) -> DbErr {
        match self {
            Self::Inside(error) | Self::Outside(error) => error,
        }
    }
}

/// A change with whoever waits for it.
#[async_trait]
trait Queued: Send {
    async fn apply(&mut self, step: &mut Step<'_>) -> Result<(), DbErr>;
    fn reply(self: Box<Self>, committed: Result<(), AuthError>);
}

struct Job<C: Change> {
    change: C,
    outcome: Option<C::Outcome>,
    reply: oneshot::Sender<Result<C::Outcome, AuthError>>,
    span: Span,
}

impl<C: Change> Job<C> {
    fn new(change: C, reply: oneshot::Sender<Result<C::Outcome, AuthError>>) -> Self {
        Self { change, outcome: None, reply, span: Span::current() }
    }
}

#[async_trait]
impl<C: Change> Queued for Job<C> {
    async fn apply(&mut self, step: &mut Step<'_>) -> Result<(), DbErr> {
        self.outcome = Some(self.change.apply(step).instrument(self.span.clone()).await?);
        Ok(())
    }

    fn reply(self: Box<Self>, committed: Result<(), AuthError>) {
        let this = *self;
        let outcome = committed.and_then(|()| this.outcome.ok_or(AuthError::Busy));
        // Whoever asked may have gone away; the change stands.
        let _ = this.reply.send(outcome);
    }
}

/// Takes changes. Cheap to clone.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Box<dyn Queued>>);

impl Writer {
    /// Starts writing. The future ends some time after `stop`, when everything that waited is committed.
    pub fn start(
        books: Books,
        announced: Arc<Notify>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), write(books, receiver, announced, stop))
    }

    /// Commits a change, and answers when it is durable.
    ///
    /// # Errors
    /// The database refused, or too many changes are waiting.
    pub async fn commit<C: Change>(&self, change: C) -> Result<C::Outcome, AuthError> {
        let (reply, outcome) = oneshot::channel();
        let job: Box<dyn Queued> = Box::new(Job::new(change, reply));
        match tokio::time::timeout(PATIENCE, self.0.send(job)).await {
            Ok(Ok(())) => outcome.await.unwrap_or(Err(AuthError::Busy)),
            Ok(Err(_)) | Err(_) => Err(AuthError::Busy),
        }
    }
}

async fn write(
    books: Books,
    mut queue: mpsc::Receiver<Box<dyn Queued>>,
    announced: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut jobs = Vec::with_capacity(TOGETHER);
    loop {
        tokio::select! {
            () = stop.cancelled(), if !queue.is_closed() => queue.close(),
            count = queue.recv_many(&mut jobs, TOGETHER) => if count == 0 { return },
        }
        if !jobs.is_empty() && commit_together(&books, std::mem::take(&mut jobs)).await {
            announced.notify_one();
        }
    }
}

/// Commits jobs together; if one of them spoils the transaction, each by itself. `true` if one is to be announced.
async fn commit_together(books: &Books, mut jobs: Vec<Box<dyn Queued>>) -> bool {
    let mut announce = false;
    match books.attempt(&mut jobs).await {
        Ok(announced) => {
            announce = announced;
            jobs.into_iter().for_each(|job| job.reply(Ok(())));
        }
        Err(Failure::Inside(_)) if jobs.len() > 1 => {
            for job in jobs {
                let mut alone = vec![job];
                let committed = books.attempt(&mut alone).await;
                announce |= committed.as_ref().is_ok_and(|announced| *announced);
                let committed = committed.map(drop).map_err(|failure| Arc::new(failure.into_error()));
                settle(alone, committed);
            }
        }
        Err(failure) => settle(jobs, Err(Arc::new(failure.into_error()))),
    }
    announce
}

fn settle(jobs: Vec<Box<dyn Queued>>, committed: Result<(), Arc<DbErr>>) {
    for job in jobs {
        job.reply(committed.clone().map_err(AuthError::Commit));
    }
}

/// A refusal that changed nothing else.
pub struct Refused {
    pub action: &'static str,
    pub user_id: String,
    pub origin: Origin,
    pub reason: &'static str,
}

#[async_trait]
impl Change for Refused {
    type Outcome = ();

    async fn apply(&self, step: &mut Step<'_>) -> Result<(), DbErr> {
        let attempt = Attempt { action: self.action, user_id: &self.user_id, ..Attempt::default() };
        step.record(&self.origin, attempt, self.reason);
        Ok(())
    }
}
