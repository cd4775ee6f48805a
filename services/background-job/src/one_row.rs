//! Counts and sums over tables, in SQL, have one row.

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value};

/// Asks for it.
///
/// # Errors
/// The database is gone.
pub async fn one_row(
    connection: &impl ConnectionTrait,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<QueryResult, DbErr> {
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let row = connection.query_one_raw(statement).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("counts and sums have one row".to_owned()))
}
