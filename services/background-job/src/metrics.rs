//! What the job service counts for its operators.
//!
//! What stands in the database is read from there now and then, so that it survives restarts and is the same in every
//! replica: who adds replicas up must take the largest of them instead. Claims are counted by each process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quire_database::now;
use quire_limit::upstream::{Breaker, Upstream};
use quire_serve::metrics::{Counters, Durations, Scope, Shown};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};
use tokio_util::sync::CancellationToken;

use crate::money::ledger;
use crate::store::{Status, Store};

/// Models that are not set up any more, all together: old names must not add up for ever.
const OTHER: &str = "other";

/// Cheap to clone: clones count together.
#[derive(Clone)]
pub struct JobMetrics {
    claims: Counters<1>,
    looks: Durations<1>,
    models: Arc<[String]>,
    latest: Arc<Mutex<Latest>>,
}

/// What the latest look found.
#[derive(Default)]
struct Latest {
    jobs: BTreeMap<&'static str, i64>,
    oldest_queued: Duration,
    reserved: i64,
    models: BTreeMap<String, Spend>,
}

/// Of one model, in millionths of a US dollar and in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Spend {
    all: i64,
    wasted: i64,
    input_tokens: i64,
    output_tokens: i64,
}

impl JobMetrics {
    /// `gates`: the models that are set up, by name.
    pub fn new(scope: &Scope, gates: &[(String, Arc<Upstream>)]) -> Self {
        let claims = scope.counters("claims", "Jobs taken, by whether an attempt before was lost", ["kind"]);
        let claims = claims.from_zero([["queued"], ["taken_over"]]);
        let help =
            "Time to look for the next job, by what came of it: taken, put_away, missed, nothing or failed";
        let looks = scope.durations("claim_seconds", help, ["outcome"]);
        let mut models: Vec<String> = gates.iter().map(|(model, _)| model.clone()).collect();
        models.push(OTHER.to_owned());
        models.sort();
        models.dedup();
        let metrics = Self { claims, looks, models: models.into(), latest: Arc::default() };
        metrics.show_jobs(scope);
        metrics.show_money(scope);
        show_breakers(scope, gates.to_vec());
        metrics
    }

    pub fn claimed(&self, taken_over: bool) {
        self.claims.count([if taken_over { "taken_over" } else { "queued" }]);
    }

    /// How long it took to look for a job.
    pub fn looked(&self, outcome: &'static str, took: Duration) {
        self.looks.observe([outcome], took);
    }

    fn show_jobs(&self, scope: &Scope) {
        let latest = self.latest.clone();
        scope.readings("jobs", "Jobs by where they stand", Shown::Gauge, ["status"], move || {
            let latest = lock(&latest);
            let count = |status: Status| latest.jobs.get(status.name()).copied().unwrap_or_default();
            Status::ALL.map(|status| ([status.name().to_owned()], float(count(status)))).to_vec()
        });
        let latest = self.latest.clone();
        let help = "How long the job has waited that could have been taken first";
        scope.gauge("oldest_queued_seconds", help, move || lock(&latest).oldest_queued.as_secs_f64());
    }

    fn show_money(&self, scope: &Scope) {
        let by_model = |name: &str, help: &str, read: fn(&Spend) -> i64| {
            let metrics = self.clone();
            scope.readings(name, help, Shown::Counter, ["model"], move || {
                let row = |(model, spend): (&String, Spend)| ([model.clone()], float(read(&spend)));
                metrics.spends().iter().map(|(model, spend)| row((model, *spend))).collect()
            });
        };
        by_model("spend_micro", "Millionths of a US dollar paid for calls that have ended", |spend| {
            spend.all
        });
        by_model(
            "wasted_spend_micro",
            "Millionths of a US dollar paid for calls whose attempt lost its job",
            |spend| spend.wasted,
        );
        let metrics = self.clone();
        let help = "Tokens of calls that have ended";
        scope.readings("tokens", help, Shown::Counter, ["model", "direction"], move || {
            let spends = metrics.spends();
            let rows = spends.iter().flat_map(|(model, spend)| {
                [("input", spend.input_tokens), ("output", spend.output_tokens)]
                    .map(|(direction, tokens)| ([model.clone(), direction.to_owned()], float(tokens)))
            });
            rows.collect()
        });
        let latest = self.latest.clone();
        let help = "Millionths of a US dollar that the calls under way can cost at most";
        scope.gauge("reserved_micro", help, move || float(lock(&latest).reserved));
    }

    /// Of every model that is set up, and of all others together.
    fn spends(&self) -> Vec<(String, Spend)> {
        let latest = lock(&self.latest);
        self.models
            .iter()
            .map(|model| (model.clone(), latest.models.get(model).copied().unwrap_or_default()))
            .collect()
    }

    /// Looks into the database at once and then again and again, until the shutdown.
    pub async fn follow(self, store: Store, pause: Duration, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                looked = self.look(&store) => if let Err(error) = looked {
                    tracing::warn!(%error, "the metrics cannot be read");
                },
                () = shutdown.cancelled() => return,
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn look(&self, store: &Store) -> Result<(), DbErr> {
        let reader = store.database.reader();
        let mut latest = Latest::default();
        let counted = "SELECT status, CAST(COUNT(*) AS BIGINT) AS jobs,
                CAST(COALESCE(MIN(run_at), 0) AS BIGINT) AS first FROM jobs GROUP BY status";
        let now = now(reader).await?.unix_micros();
        for row in query(reader, counted).await? {
            let Some(status) = Status::parse(&row.try_get::<String>("", "status")?) else { continue };
            latest.jobs.insert(status.name(), row.try_get("", "jobs")?);
            if status == Status::Queued {
                let waiting = now - row.try_get::<i64>("", "first")?;
                latest.oldest_queued = Duration::from_micros(u64::try_from(waiting).unwrap_or_default());
            }
        }
        for row in query(reader, &ledger::totals()).await? {
            let status: String = row.try_get("", "status")?;
            if status == "open" {
                latest.reserved += row.try_get::<i64>("", "reserved")?;
                continue;
            }
            let model: String = row.try_get("", "model")?;
            let known = self.models.contains(&model);
            let spend = latest.models.entry(if known { model } else { OTHER.to_owned() }).or_default();
            let cost: i64 = row.try_get("", "cost")?;
            spend.all += cost;
            if status == "wasted" {
                spend.wasted += cost;
            }
            spend.input_tokens += row.try_get::<i64>("", "input")?;
            spend.output_tokens += row.try_get::<i64>("", "output")?;
        }
        *lock(&self.latest) = latest;
        Ok(())
    }
}

async fn query(connection: &impl ConnectionTrait, sql: &str) -> Result<Vec<QueryResult>, DbErr> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    connection.query_all_raw(statement).await
}

fn show_breakers(scope: &Scope, gates: Vec<(String, Arc<Upstream>)>) {
    let help = "1 for where the breaker of a model stands as far as this process knows, else 0";
    scope.readings("model_breaker", help, Shown::Gauge, ["model", "state"], move || {
        let mut rows = BTreeMap::new();
        for (model, upstream) in &gates {
            let stands = upstream.breaker();
            for state in [Breaker::Closed, Breaker::Open, Breaker::Trying] {
                // Two writers may ask the same model.
                rows.entry([model.clone(), name(state).to_owned()])
                    .and_modify(|shown: &mut f64| *shown = shown.max(flag(state == stands)))
                    .or_insert(flag(state == stands));
            }
        }
        rows.into_iter().collect()
    });
}

fn name(state: Breaker) -> &'static str {
    match state {
        Breaker::Closed => "closed",
        Breaker::Open => "open",
        Breaker::Trying => "trying",
    }
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(number: i64) -> f64 {
    number as f64
}

fn lock(latest: &Mutex<Latest>) -> MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}
