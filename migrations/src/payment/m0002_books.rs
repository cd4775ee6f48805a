//! Payments, refunds and disputes beside the orders; idempotency keys; retries and dead letters; chained audit.

use sea_orm_migration::prelude::*;

use crate::run;

use crate::idempotency;

pub(super) struct Books;

impl MigrationName for Books {
    fn name(&self) -> &str {
        "payment_0002_books"
    }
}

/// Plain SQL that both databases read alike. Times are microseconds since the Unix epoch, amounts are in the
/// currency's minor unit.
const STATEMENTS: [&str; 31] = [
    "ALTER TABLE orders ADD COLUMN method TEXT NOT NULL DEFAULT 'checkout'",
    "ALTER TABLE orders ADD COLUMN intent_id TEXT",
    "ALTER TABLE orders ADD COLUMN language TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE orders ADD COLUMN price_version TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE orders ADD COLUMN delivered_pages INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE orders ADD COLUMN refunded_minor BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE orders ADD COLUMN disputed BOOLEAN NOT NULL DEFAULT FALSE",
    "ALTER TABLE orders ADD COLUMN audit_seq BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE orders ADD COLUMN audit_hash TEXT NOT NULL DEFAULT ''",
    "CREATE UNIQUE INDEX orders_by_intent ON orders (intent_id)",
    "CREATE INDEX orders_paid ON orders (paid_at, id) WHERE status = 'paid'",
    "ALTER TABLE audit ADD COLUMN seq BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE audit ADD COLUMN hash TEXT NOT NULL DEFAULT ''",
    // A payment that arrived. `seen_minor` is the most that the provider said went back in all, `refunded_minor` what
    // the ledger has posted of it; `due_minor` was set aside for refunds, `drawn_minor` of that has been sent.
    "CREATE TABLE payments (
        id TEXT NOT NULL PRIMARY KEY,
        order_id TEXT NOT NULL,
        amount_minor BIGINT NOT NULL,
        currency TEXT NOT NULL,
        held TEXT NOT NULL,
        due_minor BIGINT NOT NULL,
        drawn_minor BIGINT NOT NULL,
        seen_minor BIGINT NOT NULL,
        refunded_minor BIGINT NOT NULL,
        postings BIGINT NOT NULL,
        at BIGINT NOT NULL
    )",
    "CREATE INDEX payments_of_order ON payments (order_id)",
    "CREATE TABLE refunds (
        id TEXT NOT NULL PRIMARY KEY,
        intent TEXT NOT NULL UNIQUE,
        order_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        payment_id TEXT NOT NULL,
        provider_refund_id TEXT UNIQUE,
        amount_minor BIGINT NOT NULL,
        currency TEXT NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL,
        note TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        decided_at BIGINT
    )",
    "CREATE INDEX refunds_of_payment ON refunds (payment_id)",
    "CREATE INDEX refunds_of_order ON refunds (order_id)",
    "CREATE INDEX refunds_of_user ON refunds (user_id, id)",
    "CREATE TABLE disputes (
        id TEXT NOT NULL PRIMARY KEY,
        payment_id TEXT NOT NULL,
        order_id TEXT NOT NULL,
        amount_minor BIGINT NOT NULL,
        currency TEXT NOT NULL,
        status TEXT NOT NULL,
        opened_at BIGINT NOT NULL,
        closed_at BIGINT
    )",
    "CREATE INDEX disputes_of_payment ON disputes (payment_id)",
    "ALTER TABLE inbox_events ADD COLUMN payment_id TEXT",
    "ALTER TABLE inbox_events ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE inbox_events ADD COLUMN next_at BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE inbox_events ADD COLUMN last_error TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX inbox_parked_payment ON inbox_events (payment_id) WHERE status = 'parked'",
    "CREATE INDEX inbox_received ON inbox_events (next_at) WHERE status = 'received'",
    "ALTER TABLE outbox ADD COLUMN dead_at BIGINT",
    // What the ledger, the orders and the outbox know of earlier payments and refunds.
    "INSERT INTO payments SELECT substr(p.event_key, 9), p.order_id, p.amount_minor, p.currency, h.account,
        CASE h.account WHEN 'refunds_due' THEN p.amount_minor ELSE 0 END, 0, 0, 0, 0, p.at
        FROM ledger_entries p JOIN ledger_entries h ON h.event_key = p.event_key AND h.account <> p.account
        WHERE p.event_key LIKE 'payment:%' AND p.account = 'provider'",
    "INSERT INTO refunds SELECT t.id, t.intent, t.order_id, o.user_id, p.id, NULL, p.amount_minor, p.currency,
        CASE WHEN t.done_at IS NULL THEN 'pending' ELSE 'succeeded' END, 'UNKNOWN', '', t.created_at, t.created_at
        FROM outbox t JOIN orders o ON o.id = t.order_id JOIN payments p ON p.order_id = t.order_id
        AND p.id = CASE WHEN t.intent = 'refund:' || t.order_id THEN o.provider_payment_id
            ELSE substr(t.intent, length('refund:' || t.order_id) + 2) END
        WHERE t.kind = 'refund'",
    "UPDATE outbox SET payload = '{\"Refund\":{\"refund_id\":\"' || id || '\"}}' WHERE kind = 'refund'",
];

/// After the rows of earlier refunds are there.
const SUMS: [&str; 3] = [
    "UPDATE payments SET due_minor = amount_minor
        WHERE id IN (SELECT payment_id FROM refunds)",
    "UPDATE payments SET drawn_minor = amount_minor, seen_minor = amount_minor, refunded_minor = amount_minor,
        postings = 1 WHERE id IN (SELECT payment_id FROM refunds WHERE status = 'succeeded')",
    "UPDATE orders SET refunded_minor = amount_minor WHERE status = 'refunded'",
];

#[async_trait::async_trait]
impl MigrationTrait for Books {
    /// On SQLite too: a process killed halfway must leave nothing behind that the next start trips over.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &STATEMENTS).await?;
        run(manager, &idempotency::TABLE).await?;
        run(manager, &SUMS).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for index in ["orders_by_intent", "orders_paid", "inbox_parked_payment", "inbox_received"] {
            connection.execute_unprepared(&format!("DROP INDEX {index}")).await?;
        }
        for table in ["payments", "refunds", "disputes", "idempotency_keys"] {
            connection.execute_unprepared(&format!("DROP TABLE {table}")).await?;
        }
        let added: [(&str, &[&str]); 4] = [
            (
                "orders",
                &[
                    "method",
                    "intent_id",
                    "language",
                    "price_version",
                    "delivered_pages",
                    "refunded_minor",
                    "disputed",
                    "audit_seq",
                    "audit_hash",
                ],
            ),
            ("audit", &["seq", "hash"]),
            ("inbox_events", &["payment_id", "attempts", "next_at", "last_error"]),
            ("outbox", &["dead_at"]),
        ];
        for (table, columns) in added {
            for column in columns {
                connection.execute_unprepared(&format!("ALTER TABLE {table} DROP COLUMN {column}")).await?;
            }
        }
        Ok(())
    }
}
