//! Verifying the chain from its first row to its head.

use quire_database::Database;
use sea_orm::DbErr;

use super::ChainKey;
use crate::store;

const AT_ONCE: u64 = 1000;

/// A log that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// Rows whose hash was recomputed.
    pub verified: u64,
    /// Rows from before the chain, which nothing protects.
    pub unchained: u64,
    /// Rows up to here were deleted by retention.
    pub pruned_seq: i64,
    /// The place and the hash of the last row: note them elsewhere, to notice later if the end was cut off.
    pub head_seq: i64,
    pub head_hash: String,
}

/// Where the log is broken.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("row {seq} is missing: the log goes on with row {found}")]
    Missing { seq: i64, found: i64 },
    #[error("row {seq} was changed, or was not written by this installation")]
    Changed { seq: i64 },
    #[error("the log ends at row {last}, but its head says {head}")]
    Head { last: i64, head: i64 },
    #[error("row {seq} does not have the hash that was noted: what came after it was replaced or cut off")]
    Noted { seq: i64 },
    #[error("the database refused")]
    Database(#[from] DbErr),
}

/// Reads the whole log and recomputes its chain. `noted`: the place and the hash of a row, kept from an earlier
/// report.
///
/// # Errors
/// The first place where the log is not what was written.
pub async fn verify(
    database: &Database,
    chain: &ChainKey,
    noted: Option<(i64, &str)>,
) -> Result<AuditReport, AuditError> {
    // One moment for all reads, while changes go on.
    let head = store::head(database.reader()).await?;
    let (mut seq, mut hash) = (head.pruned_seq, head.pruned_hash.clone());
    let (mut verified, mut unchained) = (0, 0);
    let mut found_noted = noted.is_none();
    while seq < head.seq {
        let rows = store::events_after(database.reader(), seq, AT_ONCE).await?;
        if rows.is_empty() {
            return Err(AuditError::Head { last: seq, head: head.seq });
        }
        for row in rows.into_iter().take_while(|row| row.seq <= head.seq) {
            if row.seq != seq + 1 {
                return Err(AuditError::Missing { seq: seq + 1, found: row.seq });
            }
            seq = row.seq;
            if seq <= head.chain_from {
                unchained += 1;
                continue;
            }
            if chain.hash(&hash, &row) != row.hash {
                return Err(AuditError::Changed { seq });
            }
            found_noted |= noted == Some((seq, row.hash.as_str()));
            (hash, verified) = (row.hash, verified + 1);
        }
    }
    if hash != head.hash {
        return Err(AuditError::Changed { seq });
    }
    // A row that retention has deleted meanwhile proves nothing either way.
    match noted {
        Some((seq, _)) if !found_noted && seq > head.pruned_seq => Err(AuditError::Noted { seq }),
        _ => Ok(AuditReport {
            verified,
            unchained,
            pruned_seq: head.pruned_seq,
            head_seq: head.seq,
            head_hash: head.hash,
        }),
    }
}
