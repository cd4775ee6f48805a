//! Bound links and codes, confirmed generations, the life of keys, blocked users, and the chained audit log.

use sea_orm_migration::prelude::*;

use crate::run;
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(super) struct Defence;

impl MigrationName for Defence {
    fn name(&self) -> &str {
        "auth_0002_defence"
    }
}

/// Plain SQL that both databases read alike. Times are microseconds since the Unix epoch.
const STATEMENTS: [&str; 28] = [
    "ALTER TABLE users ADD COLUMN blocked_at BIGINT",
    // Place in the audit log of the last block or unblock.
    "ALTER TABLE users ADD COLUMN status_seq BIGINT NOT NULL DEFAULT 0",
    "CREATE INDEX users_by_status ON users (status_seq)",
    // Links live for minutes, and those from before are bound to nobody: they are asked for again.
    "DROP TABLE magic_links",
    "CREATE TABLE magic_links (
        id TEXT NOT NULL PRIMARY KEY,
        token_hash TEXT NOT NULL UNIQUE,
        verifier_hash TEXT NOT NULL,
        code_mac TEXT NOT NULL,
        tries BIGINT NOT NULL,
        email TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        used_at BIGINT
    )",
    "CREATE INDEX magic_links_of_email ON magic_links (email, created_at)",
    "CREATE INDEX magic_links_of_verifier ON magic_links (verifier_hash)",
    "CREATE INDEX magic_links_by_expiry ON magic_links (expires_at)",
    "ALTER TABLE sessions ADD COLUMN confirmed_generation BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE sessions ADD COLUMN signing_kid TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE sessions ADD COLUMN name TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE sessions ADD COLUMN client_address TEXT NOT NULL DEFAULT ''",
    // Place in the audit log of the revocation: what the stream of revocations goes by.
    "ALTER TABLE sessions ADD COLUMN revoked_seq BIGINT",
    // Nobody waits for a confirmation from before there were any.
    "UPDATE sessions SET confirmed_generation = generation",
    "CREATE INDEX sessions_by_revocation ON sessions (revoked_seq)",
    "CREATE INDEX sessions_by_end ON sessions (absolute_expires_at)",
    "CREATE TABLE signing_keys_new (
        kid TEXT NOT NULL PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN ('standby', 'active', 'retired', 'revoked')),
        public_key TEXT NOT NULL,
        sealed_private_key TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        activate_at BIGINT NOT NULL,
        retired_at BIGINT,
        revoked_at BIGINT
    )",
    "INSERT INTO signing_keys_new
        SELECT kid, state, public_key, sealed_private_key, created_at, created_at, NULL, NULL FROM signing_keys",
    "DROP TABLE signing_keys",
    "ALTER TABLE signing_keys_new RENAME TO signing_keys",
    "CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state = 'active'",
    // Two rotations at once must not publish two keys.
    "CREATE UNIQUE INDEX signing_keys_one_standby ON signing_keys (state) WHERE state = 'standby'",
    "ALTER TABLE audit_events ADD COLUMN seq BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE audit_events ADD COLUMN actor_id TEXT NOT NULL DEFAULT ''",
    // Empty for rows from before the chain.
    "ALTER TABLE audit_events ADD COLUMN hash TEXT NOT NULL DEFAULT ''",
    "UPDATE audit_events SET seq = numbered.place FROM
        (SELECT id, row_number() OVER (ORDER BY at, id) AS place FROM audit_events) AS numbered
        WHERE numbered.id = audit_events.id",
    // The one row that every change locks first: changes have one order, and numbers have no gaps.
    "CREATE TABLE audit_head (
        id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
        seq BIGINT NOT NULL,
        hash TEXT NOT NULL,
        chain_from BIGINT NOT NULL,
        pruned_seq BIGINT NOT NULL,
        pruned_hash TEXT NOT NULL
    )",
    "INSERT INTO audit_head SELECT 1, count(*), '', count(*), 0, '' FROM audit_events",
];

const INDEXES: [&str; 6] = [
    "DROP INDEX audit_events_by_time",
    "DROP INDEX audit_events_of_user",
    "CREATE UNIQUE INDEX audit_events_by_seq ON audit_events (seq)",
    "CREATE INDEX audit_events_by_time ON audit_events (at)",
    "CREATE INDEX audit_events_of_user ON audit_events (user_id, seq)",
    "CREATE INDEX audit_events_by_action ON audit_events (action, seq)",
];

/// Append-only: nothing changes a row, and only what retention has already accounted for is deleted.
const SQLITE_TRIGGERS: [&str; 2] = [
    "CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events BEGIN
        SELECT RAISE(ABORT, 'the audit log is append-only');
    END",
    "CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
        WHEN OLD.seq > (SELECT pruned_seq FROM audit_head) BEGIN
        SELECT RAISE(ABORT, 'the audit log is append-only');
    END",
];

const POSTGRES_TRIGGERS: [&str; 3] = [
    "CREATE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF OLD.seq <= (SELECT pruned_seq FROM audit_head) THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION 'the audit log is append-only';
    END $$",
    "CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
        FOR EACH ROW EXECUTE FUNCTION audit_events_append_only()",
    "CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
        FOR EACH STATEMENT EXECUTE FUNCTION audit_events_append_only()",
];

#[async_trait::async_trait]
impl MigrationTrait for Defence {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let triggers: &[&str] = match manager.get_database_backend() {
            DatabaseBackend::Postgres => &POSTGRES_TRIGGERS,
            _ => &SQLITE_TRIGGERS,
        };
        run(manager, &STATEMENTS).await?;
        run(manager, &INDEXES).await?;
        run(manager, triggers).await
    }

    /// The log was chained to keep what happened: there is no way back that would not lose it.
    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("auth_0002_defence cannot be undone".to_owned()))
    }
}
