//! Orders, inbox of events, outbox, ledger, audit.

use crate::plain::Plain;

/// Amounts are in the currency's minor unit.
pub(super) const ORDERS: Plain = Plain {
    name: "payment_0001_orders",
    up: &[
        "CREATE TABLE orders (
            id TEXT NOT NULL PRIMARY KEY,
            document_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            pages INTEGER NOT NULL,
            unit_minor BIGINT NOT NULL,
            amount_minor BIGINT NOT NULL,
            currency TEXT NOT NULL,
            status TEXT NOT NULL,
            provider_request TEXT NOT NULL,
            checkout_session_id TEXT UNIQUE,
            checkout_url TEXT,
            provider_payment_id TEXT,
            job_id TEXT,
            created_at BIGINT NOT NULL,
            paid_at BIGINT,
            expires_at BIGINT NOT NULL,
            checked_at BIGINT NOT NULL DEFAULT 0
        )",
        // A document has one order that is or may still be paid; a second checkout meets this index.
        "CREATE UNIQUE INDEX orders_live ON orders (document_id)
            WHERE status IN ('open', 'processing', 'paid', 'delivered', 'quarantined')",
        "CREATE INDEX orders_of_user ON orders (user_id, id)",
        "CREATE INDEX orders_unsettled ON orders (checked_at, id) WHERE status IN ('open', 'processing')",
        "CREATE TABLE inbox_events (
            event_id TEXT NOT NULL PRIMARY KEY,
            kind TEXT NOT NULL,
            payload TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            status TEXT NOT NULL,
            reason TEXT NOT NULL,
            order_id TEXT,
            received_at BIGINT NOT NULL
        )",
        "CREATE INDEX inbox_parked ON inbox_events (order_id) WHERE status = 'parked'",
        "CREATE TABLE outbox (
            id TEXT NOT NULL PRIMARY KEY,
            intent TEXT NOT NULL UNIQUE,
            order_id TEXT NOT NULL,
            document_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            payload TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            next_at BIGINT NOT NULL,
            lease_until BIGINT NOT NULL,
            lease_epoch BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            key_round INTEGER NOT NULL DEFAULT 0,
            done_at BIGINT,
            last_error TEXT NOT NULL
        )",
        "CREATE INDEX outbox_due ON outbox (next_at) WHERE done_at IS NULL",
        "CREATE INDEX outbox_of_document ON outbox (document_id) WHERE done_at IS NULL",
        "CREATE TABLE ledger_entries (
            event_key TEXT NOT NULL,
            account TEXT NOT NULL,
            order_id TEXT NOT NULL,
            amount_minor BIGINT NOT NULL,
            currency TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (event_key, account)
        )",
        "CREATE INDEX ledger_of_order ON ledger_entries (order_id)",
        "CREATE TABLE audit (
            id TEXT NOT NULL PRIMARY KEY,
            order_id TEXT NOT NULL,
            from_status TEXT NOT NULL,
            to_status TEXT NOT NULL,
            actor TEXT NOT NULL,
            detail TEXT NOT NULL,
            at BIGINT NOT NULL
        )",
        "CREATE INDEX audit_of_order ON audit (order_id, id)",
    ],
    down: &[
        "DROP TABLE audit",
        "DROP TABLE ledger_entries",
        "DROP TABLE outbox",
        "DROP TABLE inbox_events",
        "DROP TABLE orders",
    ],
};
