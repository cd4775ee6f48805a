//! The settings of the job service.

use std::path::PathBuf;
use std::time::Duration;

use quire_database::Settings as DatabaseSettings;
use quire_identity::MasterSecret;
use quire_limit::upstream::PATIENCE;
use quire_serve::metrics::Metrics;
use quire_serve::settings::{Common, Settings};
use secrecy::SecretString;

use crate::writers::settings::ModelConfig;

/// The PostgreSQL schema of this context.
const SCHEMA: &str = "job";
const OUTLINE_REVIEW: Duration = Duration::from_secs(14 * 86_400);
const METRICS_PAUSE: Duration = Duration::from_secs(15);
const EVENTS_RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// Everything the service is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    pub database: DatabaseSettings,
    pub migrate: bool,
    pub master: MasterSecret,
    pub auth_url: String,
    pub document_url: String,
    pub payment_url: String,
    /// Jobs at the same time in this process; 0: it only answers. `QUIRE_JOB_CONCURRENCY`.
    pub concurrency: usize,
    /// Of one user at the same time, in all processes together. `QUIRE_JOBS_PER_USER`.
    pub jobs_per_user: u32,
    /// Of all users at the same time, in all processes together; 0: no limit. `QUIRE_JOBS_GLOBAL`.
    pub jobs_global: u32,
    /// Sections of one job that are written at the same time. `QUIRE_SECTIONS_AT_ONCE`.
    pub sections_at_once: usize,
    /// How long events, recorded calls and delivered messages are kept after a job's end.
    /// `QUIRE_JOB_EVENTS_RETENTION_SECONDS`.
    pub events_retention: Duration,
    /// How long a proposed outline waits for its customer; then it is written as it is.
    /// `QUIRE_OUTLINE_REVIEW_SECONDS`.
    pub outline_review: Duration,
    /// Outlines that a user may have planned in 24 hours before ordering anything. `QUIRE_OUTLINES_PER_DAY`.
    pub outlines_per_day: u32,
    /// How long a job belongs to a worker that says nothing. `QUIRE_JOB_LEASE_SECONDS`.
    pub lease: Duration,
    /// After the shutdown a job has this long to come to a checkpoint. `QUIRE_DRAIN_SECONDS`.
    pub drain: Duration,
    /// First backoff of a step that is tried again.
    pub retry_base: Duration,
    /// Language models, their prices and their budgets.
    pub models: ModelConfig,
    /// `REDIS_URL`: shares the limits of the models between replicas.
    pub redis_url: Option<SecretString>,
    /// Without an answer of Redis for so long, a call goes on without it.
    pub redis_patience: Duration,
    /// The program that is started as `<program> typeset`.
    pub typesetter: PathBuf,
    /// This is the only process on the database, and holds the data folder's lock: leases of earlier starts are
    /// void at once.
    pub exclusive_data_dir: bool,
    /// Where calls are counted; unless it is replaced, nobody sees it.
    pub metrics: Metrics,
    /// Between two looks into the database for them.
    pub metrics_pause: Duration,
}

impl Config {
    /// Reads the settings; mistakes are noted in `settings`. `exclusive_data_dir` is the caller's to know.
    pub fn read(settings: &mut Settings, common: &Common, exclusive_data_dir: bool) -> Option<Self> {
        let master = MasterSecret::new(common.master_secret.clone());
        let master = master.map_err(|error| settings.problem(error.to_string())).ok();
        let program = settings.optional("QUIRE_CHILD_PROGRAM").map(PathBuf::from);
        let typesetter = program.or_else(|| std::env::current_exe().ok());
        if typesetter.is_none() {
            settings.problem("QUIRE_CHILD_PROGRAM must be set: the path of this program cannot be found out");
        }
        let models = ModelConfig::read(settings);
        let redis_url = settings.secret("REDIS_URL");
        let concurrency = settings.number("QUIRE_JOB_CONCURRENCY", 2, 0..=64);
        let lease = Duration::from_secs(settings.number("QUIRE_JOB_LEASE_SECONDS", 30, 2..=3600));
        let jobs_per_user = settings.number("QUIRE_JOBS_PER_USER", 2, 1..=1000);
        let jobs_global = settings.number("QUIRE_JOBS_GLOBAL", 0, 0..=100_000);
        let sections_at_once = settings.number("QUIRE_SECTIONS_AT_ONCE", 4, 1..=16);
        let events_retention = settings.seconds("QUIRE_JOB_EVENTS_RETENTION_SECONDS", EVENTS_RETENTION);
        let outline_review = settings.seconds("QUIRE_OUTLINE_REVIEW_SECONDS", OUTLINE_REVIEW);
        let outlines_per_day = settings.number("QUIRE_OUTLINES_PER_DAY", 10, 0..=10_000);
        let drain = Duration::from_secs(settings.number("QUIRE_DRAIN_SECONDS", 8, 0..=60));
        Some(Self {
            database: DatabaseSettings {
                url: common.database_url.clone(),
                schema: SCHEMA.to_owned(),
                max_connections: settings.number("QUIRE_DATABASE_CONNECTIONS", 8, 2..=1000),
            },
            migrate: common.migrate,
            master: master?,
            auth_url: common.auth_url.clone(),
            document_url: common.document_url.clone(),
            payment_url: common.payment_url.clone(),
            concurrency,
            jobs_per_user,
            jobs_global,
            sections_at_once,
            events_retention,
            outline_review,
            outlines_per_day,
            lease,
            drain,
            retry_base: Duration::from_secs(1),
            models,
            redis_url,
            redis_patience: PATIENCE,
            typesetter: typesetter?,
            exclusive_data_dir,
            metrics: Metrics::default(),
            metrics_pause: METRICS_PAUSE,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn common() -> Common {
        Common {
            database_url: "sqlite:///tmp/x.db".to_owned(),
            data_dir: PathBuf::new(),
            migrate: true,
            master_secret: "0123456789abcdef0123456789abcdef".to_owned().into(),
            auth_url: String::new(),
            document_url: String::new(),
            payment_url: String::new(),
            job_url: String::new(),
        }
    }

    fn read(values: &[(&str, &str)]) -> (Option<Config>, Settings) {
        let values: HashMap<_, _> =
            values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut settings = Settings::from_map(values);
        (Config::read(&mut settings, &common(), false), settings)
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let (config, settings) = read(&[]);
        let config = config.unwrap();
        settings.finish().unwrap();
        assert_eq!((config.concurrency, config.lease), (2, Duration::from_secs(30)));
        assert!(config.models.openai.is_none());
    }

    #[test]
    fn half_a_model_and_a_short_lease_are_both_reported() {
        let (_, settings) = read(&[("QUIRE_MODEL", "x"), ("QUIRE_JOB_LEASE_SECONDS", "1")]);
        assert_eq!(settings.finish().unwrap_err().problems.len(), 2);
    }
}
