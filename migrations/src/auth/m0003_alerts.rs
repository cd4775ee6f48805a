//! Mails to owners whose refresh token came back, waiting to be sent.

use crate::plain::Plain;

/// No address and no text of a
/// mail: both are made when it is sent, from the rows of the user and the session.
pub(super) const ALERTS: Plain = Plain {
    name: "auth_0003_alerts",
    up: &[
        "CREATE TABLE alerts (
            id TEXT NOT NULL PRIMARY KEY,
            user_id TEXT NOT NULL,
            session_id TEXT NOT NULL,
            happened_at BIGINT NOT NULL,
            client_address TEXT NOT NULL,
            user_agent TEXT NOT NULL,
            request_id TEXT NOT NULL,
            attempts BIGINT NOT NULL,
            next_at BIGINT NOT NULL,
            lease_until BIGINT NOT NULL,
            lease_epoch BIGINT NOT NULL,
            last_error TEXT NOT NULL,
            dead_at BIGINT
        )",
        "CREATE INDEX alerts_by_due ON alerts (next_at) WHERE dead_at IS NULL",
    ],
    down: &["DROP TABLE alerts"],
};
