//! An outline that is planned before the order, for the customer to look at. It is shown for as long as the document is
//! described as it was when it was planned.

use quire_fault::{Rule, Violation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::documents::status;
use crate::error::DocumentError;
use crate::outline::Outline;
use crate::status::Status;
use crate::store::{DocumentRow, SourceRow};
use crate::writing::Writing;

/// What is stored with the document, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Preview {
    /// Of what it was planned for.
    pub revision: String,
    pub outline: Outline,
}

/// Changes when anything changes that an outline depends on: SHA-256, hex.
pub fn revision(row: &DocumentRow, sources: &[SourceRow]) -> Result<String, DocumentError> {
    let sources: Vec<(&str, &str)> =
        sources.iter().map(|source| (source.id.as_str(), source.sha256.as_str())).collect();
    let described = (
        (&row.title, &row.topic, &row.language, row.target_pages),
        (&row.kind, &row.writer, &row.wished_chapters),
        sources,
    );
    Ok(hex::encode(Sha256::digest(serde_json::to_vec(&described)?)))
}

/// The preview that is stored, whether or not it still fits.
pub fn stored(row: &DocumentRow) -> Result<Option<Preview>, DocumentError> {
    Ok(row.preview.as_deref().map(serde_json::from_str).transpose()?)
}

impl Writing {
    /// Shows an outline that was planned for that revision of a document.
    ///
    /// # Errors
    /// Every broken rule at once; `DOCUMENT_STATE` when the document has a job already; `DOCUMENT_CHANGED` when it is
    /// described in another way by now.
    pub async fn preview_outline(
        &self,
        id: &str,
        revision: String,
        outline: Outline,
    ) -> Result<(), DocumentError> {
        let mut violations = outline.violations();
        if revision.is_empty() {
            violations.insert(0, Violation::new("revision", Rule::Missing));
        }
        if !violations.is_empty() {
            return Err(DocumentError::Invalid(violations));
        }
        let row = self.store.document(id).await?.ok_or(DocumentError::NoDocument)?;
        let status = status(&row)?;
        if !Status::ORDERABLE.contains(&status) {
            return Err(DocumentError::State { status, refused: "its own job plans its outline" });
        }
        if revision != self::revision(&row, &self.store.sources(id).await?)? {
            return Err(DocumentError::Changed);
        }
        let json = serde_json::to_string(&Preview { revision, outline })?;
        // Whatever changes after the look makes the revision another one, and this is not shown.
        self.store.set_preview(id, &json).await?;
        Ok(())
    }
}
