//! What can go wrong while opening or checking a database.

use sea_orm::{DbErr, SqlErr};

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the database address is not usable: {0}")]
    Address(String),
    #[error("the folder of the database file cannot be made")]
    Folder(#[source] std::io::Error),
    #[error("the database did not answer in time")]
    Slow,
    #[error("{count} migrations are missing: run `quire migrate`")]
    NotMigrated { count: usize },
    #[error("the database refused")]
    Database(#[from] DbErr),
}

/// Whether an insert or update failed because a unique constraint holds.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}
