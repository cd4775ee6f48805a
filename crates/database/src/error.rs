//! What can go wrong while opening or checking a database.

use sea_orm::{DbErr, RuntimeErr, SqlErr};

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

/// Whether the same may succeed later: no connection, a lock that was not had, a transaction that lost against another, a
/// disk that is full or broken.
///
/// Source: the result codes of SQLite, and the classes of SQLSTATE in appendix A of PostgreSQL's manual.
pub fn is_transient(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))
    | DbErr::Conn(RuntimeErr::SqlxError(error))) = error
    else {
        return matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_));
    };
    match &**error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient_code(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Whether somebody else has SQLite's file at this moment.
pub(crate) fn is_busy(error: &DbErr) -> bool {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error))
        | DbErr::Conn(RuntimeErr::SqlxError(error)) => {
            let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
            code.is_some_and(|code| code & 0xff == 5)
        }
        _ => false,
    }
}

fn is_transient_code(code: &str) -> bool {
    // Five characters: SQLSTATE. Connection, transaction rollback, resources, operator's work, system.
    if code.len() == 5 {
        return ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class));
    }
    // SQLite: BUSY, LOCKED, IOERR, FULL, CANTOPEN; the low byte of an extended code is the code.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13 | 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_what_may_pass() {
        for code in ["5", "517", "10", "13", "40001", "40P01", "53100", "57P01", "08006"] {
            assert!(is_transient_code(code), "{code}");
        }
        for code in ["1", "19", "2067", "23505", "42601", "22021", ""] {
            assert!(!is_transient_code(code), "{code}");
        }
    }
}
