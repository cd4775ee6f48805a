//! The table of idempotency keys: each service that keeps some has its own.

/// As `crates/idempotency` reads and writes it.
pub(crate) const TABLE: [&str; 2] = [
    "CREATE TABLE idempotency_keys (
        caller TEXT NOT NULL,
        route TEXT NOT NULL,
        key TEXT NOT NULL,
        request_hash TEXT NOT NULL,
        resource_id TEXT NOT NULL,
        response TEXT,
        epoch BIGINT NOT NULL,
        lease_until BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        PRIMARY KEY (caller, route, key)
    )",
    "CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at)",
];
