//! What stands in the databases of payment and background-job, and whether it may stand there.
//!
//! The numbers are those of the invariants: I1 one job for an order, I2 an acknowledged event is stored, I3 a paid order
//! has a job, I4 a job has a payment in the ledger, I5 the ledger sums to zero, I6 every change of status is in the
//! audit, I7 no status goes backwards.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use quire::installation::Context;
use quire_database::{Database, Settings};
use sea_orm::{ConnectionTrait, QueryResult, Statement, TryGetable};

/// Where an order stands, from the earliest to the latest.
const STATUSES: [&str; 8] =
    ["open", "processing", "expired", "quarantined", "paid", "delivered", "refund_pending", "refunded"];

/// The open databases of a system that runs or not.
pub struct Books {
    payment: Database,
    job: Database,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: String,
    pub status: String,
    pub pages: i64,
    pub delivered_pages: i64,
    pub unit_minor: i64,
    pub refunded_minor: i64,
    pub audit_seq: i64,
}

impl Order {
    /// What must be back with the customer of an order that is settled: the pages that were paid and not delivered.
    pub fn owed_minor(&self) -> i64 {
        (self.pages - self.delivered_pages).max(0) * self.unit_minor
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub order_id: Option<String>,
    pub status: String,
}

/// A task of payment's outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub intent: String,
    pub attempts: i64,
    pub epoch: i64,
    pub done: bool,
    pub last_error: String,
}

impl Books {
    /// Of an installation with SQLite files in its data folder.
    pub async fn in_folder(folder: &Path) -> Self {
        Self::open(|context| format!("sqlite://{}/{}.db", folder.display(), context.name())).await
    }

    /// Of an installation whose `DATABASE_URL` this is.
    pub async fn at(database_url: &str) -> Self {
        Self::open(|_| database_url.to_owned()).await
    }

    async fn open(url: impl Fn(Context) -> String) -> Self {
        let open = async |context: Context| {
            // A second one for whoever must not wait for a look that is not finished.
            let settings =
                Settings { url: url(context), schema: context.name().to_owned(), max_connections: 2 };
            quire_database::open(&settings).await.unwrap()
        };
        Self { payment: open(Context::Payment).await, job: open(Context::Job).await }
    }

    pub async fn orders(&self) -> Vec<Order> {
        let sql = "SELECT id, status, CAST(pages AS BIGINT) AS pages, unit_minor, refunded_minor, audit_seq,
            CAST(delivered_pages AS BIGINT) AS delivered_pages FROM orders ORDER BY id";
        let order = |row: QueryResult| Order {
            id: get(&row, "id"),
            status: get(&row, "status"),
            pages: get(&row, "pages"),
            delivered_pages: get(&row, "delivered_pages"),
            unit_minor: get(&row, "unit_minor"),
            refunded_minor: get(&row, "refunded_minor"),
            audit_seq: get(&row, "audit_seq"),
        };
        rows(&self.payment, sql).await.into_iter().map(order).collect()
    }

    pub async fn jobs(&self) -> Vec<Job> {
        let job = |row: QueryResult| Job { order_id: get(&row, "order_id"), status: get(&row, "status") };
        rows(&self.job, "SELECT order_id, status FROM jobs").await.into_iter().map(job).collect()
    }

    pub async fn tasks(&self) -> Vec<Task> {
        let sql = "SELECT intent, CAST(attempts AS BIGINT) AS attempts, lease_epoch, done_at, last_error
            FROM outbox ORDER BY intent";
        let task = |row: QueryResult| Task {
            intent: get(&row, "intent"),
            attempts: get(&row, "attempts"),
            epoch: get(&row, "lease_epoch"),
            done: get::<Option<i64>>(&row, "done_at").is_some(),
            last_error: get(&row, "last_error"),
        };
        rows(&self.payment, sql).await.into_iter().map(task).collect()
    }

    /// Stored events, with the SHA-256 of their bodies in hex.
    pub async fn events(&self) -> BTreeMap<String, String> {
        let sql = "SELECT event_id, sha256 FROM inbox_events";
        let event = |row: QueryResult| (get(&row, "event_id"), get(&row, "sha256"));
        rows(&self.payment, sql).await.into_iter().map(event).collect()
    }

    /// What still waits to be done, in words; nothing once the system is at rest.
    pub async fn waiting(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        for (database, what, sql) in [
            (
                &self.payment,
                "task",
                "SELECT intent AS name FROM outbox WHERE done_at IS NULL AND dead_at IS NULL",
            ),
            (&self.payment, "event", "SELECT event_id AS name FROM inbox_events WHERE status = 'received'"),
            (&self.payment, "refund", "SELECT intent AS name FROM refunds WHERE status = 'pending'"),
            (&self.payment, "order", "SELECT id AS name FROM orders WHERE status = 'refund_pending'"),
            (&self.job, "job", "SELECT id AS name FROM jobs WHERE finished_at IS NULL"),
            (&self.job, "message", "SELECT job_id AS name FROM job_outbox WHERE done_at IS NULL"),
        ] {
            let found = rows(database, sql).await;
            waiting.extend(found.iter().map(|row| format!("{what} {}", get::<String>(row, "name"))));
        }
        waiting
    }

    /// What a lease of a process that is dead or stands still comes to with time: it ends.
    pub async fn end_leases(&self) {
        for (database, sql) in [
            (&self.payment, "UPDATE outbox SET lease_until = 0 WHERE done_at IS NULL"),
            (&self.payment, "UPDATE idempotency_keys SET lease_until = 0"),
            (&self.job, "UPDATE job_leases SET expires_at = 0 WHERE boot_id <> ''"),
            (&self.job, "UPDATE job_outbox SET leased_until = 0 WHERE done_at IS NULL"),
        ] {
            database.reader().execute_unprepared(sql).await.unwrap();
        }
    }

    /// Every invariant that is broken, of a system at rest. `acknowledged`: events that the provider has an answer of 2xx
    /// for, with the SHA-256 of what it sent.
    pub async fn violations(&self, acknowledged: &BTreeMap<String, String>) -> Vec<String> {
        let mut broken = Vec::new();
        let (orders, jobs) = (self.orders().await, self.jobs().await);
        let mut jobs_of: HashMap<&str, usize> = HashMap::new();
        for order_id in jobs.iter().filter_map(|job| job.order_id.as_deref()) {
            *jobs_of.entry(order_id).or_default() += 1;
        }
        for order in &orders {
            let count = jobs_of.get(order.id.as_str()).copied().unwrap_or_default();
            if count > 1 {
                broken.push(format!("I1: order {} has {count} jobs", order.id));
            }
            if count == 0 && ["paid", "delivered"].contains(&order.status.as_str()) {
                broken.push(format!("I3: order {} is {} and has no job", order.id, order.status));
            }
        }
        let events = self.events().await;
        for (event, sha256) in acknowledged {
            match events.get(event) {
                None => broken.push(format!("I2: event {event} was acknowledged and is not stored")),
                Some(stored) if stored != sha256 => {
                    broken.push(format!("I2: event {event} is stored with other bytes than were sent"));
                }
                Some(_) => {}
            }
        }
        self.ledger(&mut broken, &jobs_of).await;
        self.audit(&mut broken, &orders).await;
        let dead = "SELECT intent AS name FROM outbox WHERE dead_at IS NOT NULL
            UNION ALL SELECT event_id AS name FROM inbox_events WHERE status = 'dead'";
        broken.extend(
            rows(&self.payment, dead).await.iter().map(|row| format!("dead: {}", get::<String>(row, "name"))),
        );
        broken
    }

    async fn ledger(&self, broken: &mut Vec<String>, jobs_of: &HashMap<&str, usize>) {
        let sums = "SELECT order_id, currency, CAST(SUM(amount_minor) AS BIGINT) AS total FROM ledger_entries
            GROUP BY order_id, currency HAVING SUM(amount_minor) <> 0";
        for row in rows(&self.payment, sums).await {
            let (order, total): (String, i64) = (get(&row, "order_id"), get(&row, "total"));
            broken.push(format!("I5: the ledger of order {order} sums to {total}"));
        }
        let paid = "SELECT DISTINCT order_id FROM ledger_entries WHERE event_key LIKE 'payment:%'";
        let paid = rows(&self.payment, paid).await;
        let paid: HashSet<String> = paid.iter().map(|row| get(row, "order_id")).collect();
        for order_id in jobs_of.keys().filter(|order_id| !paid.contains(**order_id)) {
            broken.push(format!("I4: order {order_id} has a job and no payment in the ledger"));
        }
        // What the books of the payments say is at the provider is what the ledger says is there.
        let held = "SELECT p.order_id AS order_id, p.held_minor AS books, l.held_minor AS ledger
            FROM (SELECT order_id, CAST(SUM(amount_minor - refunded_minor) AS BIGINT) AS held_minor
                FROM payments GROUP BY order_id) p
            JOIN (SELECT order_id, CAST(SUM(amount_minor) AS BIGINT) AS held_minor
                FROM ledger_entries WHERE account = 'provider' GROUP BY order_id) l ON l.order_id = p.order_id
            WHERE p.held_minor <> l.held_minor";
        for row in rows(&self.payment, held).await {
            let (books, ledger): (i64, i64) = (get(&row, "books"), get(&row, "ledger"));
            let order: String = get(&row, "order_id");
            broken.push(format!("I5: of order {order} the provider holds {books}, the ledger says {ledger}"));
        }
    }

    async fn audit(&self, broken: &mut Vec<String>, orders: &[Order]) {
        let sql = "SELECT order_id, from_status, to_status, seq FROM audit ORDER BY order_id, seq";
        let mut steps: HashMap<String, Vec<(String, String, i64)>> = HashMap::new();
        for row in rows(&self.payment, sql).await {
            let step = (get(&row, "from_status"), get(&row, "to_status"), get(&row, "seq"));
            steps.entry(get(&row, "order_id")).or_default().push(step);
        }
        for order in orders {
            let steps = steps.remove(&order.id).unwrap_or_default();
            let mut status = "open";
            for (number, (from, to, seq)) in (1..).zip(&steps) {
                if *seq != number || from != status {
                    broken
                        .push(format!("I6: the audit of order {} has a gap before {from} to {to}", order.id));
                }
                if rank(from) > rank(to) {
                    broken.push(format!("I7: order {} went from {from} back to {to}", order.id));
                }
                status = to;
            }
            if status != order.status || order.audit_seq != i64::try_from(steps.len()).unwrap() {
                broken.push(format!(
                    "I6: order {} is {}, its audit ends with {status}",
                    order.id, order.status
                ));
            }
        }
    }
}

fn rank(status: &str) -> usize {
    STATUSES.iter().position(|one| *one == status).unwrap_or_else(|| panic!("{status} is no status"))
}

async fn rows(database: &Database, sql: &str) -> Vec<QueryResult> {
    let connection = database.reader();
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    connection.query_all_raw(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn get<T: TryGetable>(row: &QueryResult, column: &str) -> T {
    row.try_get("", column).unwrap_or_else(|error| panic!("{column}: {error}"))
}

/// That each promise can be seen broken.
mod tests {
    use quire_migrations::{JobMigrator, PaymentMigrator};
    use quire_testkit::Backend;

    use super::*;

    quire_testkit::on_both_databases!(good_books_are_good, every_broken_promise_is_seen, what_waits_is_told);

    /// One order that is paid by one event and delivered by one job.
    const PAYMENT: [&str; 6] = [
        "INSERT INTO orders (id, document_id, user_id, pages, unit_minor, amount_minor, currency, status,
            provider_request, created_at, expires_at, audit_seq)
            VALUES ('o', 'd', 'u', 12, 50, 600, 'EUR', 'delivered', '', 0, 0, 2)",
        "INSERT INTO audit (id, order_id, from_status, to_status, actor, detail, at, seq)
            VALUES ('1', 'o', 'open', 'paid', 'e', '', 0, 1), ('2', 'o', 'paid', 'delivered', 'job', '', 0, 2)",
        "INSERT INTO inbox_events (event_id, kind, payload, sha256, status, reason, order_id, received_at)
            VALUES ('e', 'checkout.session.completed', '{}', 'hash', 'done', '', 'o', 0)",
        "INSERT INTO ledger_entries (event_key, account, order_id, amount_minor, currency, at)
            VALUES ('payment:p', 'provider', 'o', 600, 'EUR', 0), ('payment:p', 'sales', 'o', -600, 'EUR', 0)",
        "INSERT INTO payments (id, order_id, amount_minor, currency, held, due_minor, drawn_minor, seen_minor,
            refunded_minor, postings, at) VALUES ('p', 'o', 600, 'EUR', 'sales', 0, 0, 0, 0, 0, 0)",
        "INSERT INTO outbox (id, intent, order_id, document_id, kind, payload, attempts, next_at, lease_until,
            lease_epoch, created_at, done_at, last_error)
            VALUES ('t', 'start_job:o', 'o', 'd', 'start_job', '{}', 1, 0, 0, 1, 0, 1, '')",
    ];
    const JOB: &str =
        "INSERT INTO jobs (id, order_id, document_id, user_id, pages, status, step, sections_done,
        sections_total, percent, attempt, step_retries, crash_count, run_at, failure, counted_pages, last_seq,
        created_at, finished_at)
        VALUES ('j', 'o', 'd', 'u', 12, 'completed', 'finish', 1, 1, 100, 1, 0, 0, 0, '', 12, 1, 0, 1)";

    #[derive(Clone, Copy)]
    enum Where {
        Payment,
        Job,
    }

    /// Good books, and what they are kept in.
    async fn good(backend: Backend) -> (Books, Box<dyn std::any::Any>) {
        let (books, kept): (Books, Box<dyn std::any::Any>) = match backend {
            Backend::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                (Books::in_folder(folder.path()).await, Box::new(folder))
            }
            Backend::Postgres => {
                let database = backend.create().await;
                (Books::at(database.url()).await, Box::new(database))
            }
        };
        books.payment.migrate::<PaymentMigrator>().await.unwrap();
        books.job.migrate::<JobMigrator>().await.unwrap();
        for sql in PAYMENT {
            books.change(Where::Payment, sql).await;
        }
        books.change(Where::Job, JOB).await;
        (books, kept)
    }

    impl Books {
        async fn change(&self, place: Where, sql: &str) {
            let database = match place {
                Where::Payment => &self.payment,
                Where::Job => &self.job,
            };
            let changed = database.reader().execute_unprepared(sql).await;
            changed.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }

        async fn found(&self) -> Vec<String> {
            self.violations(&BTreeMap::from([("e".to_owned(), "hash".to_owned())])).await
        }
    }

    async fn good_books_are_good(backend: Backend) {
        let (books, _kept) = good(backend).await;
        assert_eq!(books.found().await, Vec::<String>::new());
        assert_eq!(books.orders().await[0].owed_minor(), 600);
        assert!(books.tasks().await[0].done);
    }

    async fn every_broken_promise_is_seen(backend: Backend) {
        use Where::{Job, Payment};
        let cases: [(&str, Where, &[&str]); 11] = [
            (
                "I1",
                Job,
                &[
                    "ALTER TABLE jobs RENAME TO old_jobs",
                    "CREATE TABLE jobs AS SELECT * FROM old_jobs",
                    "INSERT INTO jobs SELECT * FROM old_jobs",
                ],
            ),
            ("I2", Payment, &["DELETE FROM inbox_events"]),
            ("I2", Payment, &["UPDATE inbox_events SET sha256 = 'other'"]),
            ("I3", Job, &["DELETE FROM jobs"]),
            ("I4", Payment, &["DELETE FROM ledger_entries"]),
            ("I5", Payment, &["UPDATE ledger_entries SET amount_minor = 599 WHERE account = 'provider'"]),
            ("I5", Payment, &["UPDATE payments SET refunded_minor = 50"]),
            ("I6", Payment, &["DELETE FROM audit WHERE seq = 1"]),
            ("I6", Payment, &["DELETE FROM audit WHERE seq = 2"]),
            (
                "I7",
                Payment,
                &[
                    "UPDATE orders SET status = 'paid', audit_seq = 3",
                    "INSERT INTO audit (id, order_id, from_status, to_status, actor, detail, at, seq)
                        VALUES ('3', 'o', 'delivered', 'paid', 'nobody', '', 0, 3)",
                ],
            ),
            ("dead", Payment, &["UPDATE inbox_events SET status = 'dead'"]),
        ];
        for (name, place, changes) in cases {
            let (books, _kept) = good(backend).await;
            for sql in changes {
                books.change(place, sql).await;
            }
            let found = books.found().await;
            assert!(
                !found.is_empty() && found.iter().all(|one| one.starts_with(name)),
                "{changes:?}: {found:?}"
            );
        }
    }

    async fn what_waits_is_told(backend: Backend) {
        let (books, _kept) = good(backend).await;
        assert_eq!(books.waiting().await, Vec::<String>::new());
        books.change(Where::Payment, "UPDATE outbox SET done_at = NULL, lease_until = 5").await;
        books.change(Where::Payment, "UPDATE inbox_events SET status = 'received'").await;
        books.change(Where::Payment, "UPDATE orders SET status = 'refund_pending'").await;
        books.change(Where::Job, "UPDATE jobs SET finished_at = NULL").await;
        assert_eq!(books.waiting().await, ["task start_job:o", "event e", "order o", "job j"]);
        books.end_leases().await;
        let left = rows(&books.payment, "SELECT lease_until FROM outbox").await;
        assert_eq!(get::<i64>(&left[0], "lease_until"), 0);
    }
}
