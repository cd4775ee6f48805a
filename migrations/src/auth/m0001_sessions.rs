//! Users, links, sessions, keys and the audit log, as they began.

use crate::plain::Plain;

pub(super) const SESSIONS: Plain = Plain {
    name: "auth_0001_sessions",
    up: &[
        "CREATE TABLE users (
            id TEXT NOT NULL PRIMARY KEY,
            email TEXT NOT NULL UNIQUE,
            created_at BIGINT NOT NULL,
            last_sign_in_at BIGINT NOT NULL
        )",
        "CREATE TABLE magic_links (
            id TEXT NOT NULL PRIMARY KEY,
            token_hash TEXT NOT NULL UNIQUE,
            email TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            used_at BIGINT
        )",
        "CREATE INDEX magic_links_of_email ON magic_links (email, created_at)",
        "CREATE TABLE sessions (
            id TEXT NOT NULL PRIMARY KEY,
            user_id TEXT NOT NULL REFERENCES users (id),
            generation BIGINT NOT NULL,
            rotated_at BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            last_used_at BIGINT NOT NULL,
            idle_expires_at BIGINT NOT NULL,
            absolute_expires_at BIGINT NOT NULL,
            revoked_at BIGINT,
            revoke_reason TEXT,
            user_agent TEXT NOT NULL
        )",
        "CREATE INDEX sessions_of_user ON sessions (user_id, created_at)",
        "CREATE TABLE signing_keys (
            kid TEXT NOT NULL PRIMARY KEY,
            state TEXT NOT NULL CHECK (state IN ('active', 'retired')),
            public_key TEXT NOT NULL,
            sealed_private_key TEXT NOT NULL,
            created_at BIGINT NOT NULL
        )",
        // Two replicas that start together both try to make the first key: one of them is refused here.
        "CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state = 'active'",
        "CREATE TABLE audit_events (
            id TEXT NOT NULL PRIMARY KEY,
            at BIGINT NOT NULL,
            action TEXT NOT NULL,
            outcome TEXT NOT NULL CHECK (outcome IN ('success', 'failure')),
            reason TEXT NOT NULL,
            user_id TEXT NOT NULL,
            session_id TEXT NOT NULL,
            client_address TEXT NOT NULL,
            request_id TEXT NOT NULL
        )",
        "CREATE INDEX audit_events_by_time ON audit_events (at, id)",
        "CREATE INDEX audit_events_of_user ON audit_events (user_id, at, id)",
    ],
    down: &[
        "DROP TABLE audit_events",
        "DROP TABLE signing_keys",
        "DROP TABLE sessions",
        "DROP TABLE magic_links",
        "DROP TABLE users",
    ],
};
