//! Mails to owners whose refresh token came back, waiting to be sent.

use sea_orm_migration::prelude::*;

use crate::run;

pub(super) struct Alerts;

impl MigrationName for Alerts {
    fn name(&self) -> &str {
        "auth_0003_alerts"
    }
}

/// Plain SQL that both databases read alike. Times are microseconds since the Unix epoch. No address and no text of a
/// mail: both are made when it is sent, from the rows of the user and the session.
const STATEMENTS: [&str; 2] = [
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
];

#[async_trait::async_trait]
impl MigrationTrait for Alerts {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &STATEMENTS).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP TABLE alerts").await?;
        Ok(())
    }
}
