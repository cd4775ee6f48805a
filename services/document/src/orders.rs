//! What payment does with a document: checks that it can be ordered, and lets go of it again.

use std::sync::Arc;

use quire_clock::World;

use crate::capacity::Capacities;
use crate::documents::{owned, status, writer};
use crate::error::DocumentError;
use crate::spec::Writer;
use crate::status::Status;
use crate::store::{Checked, DocumentRow, Store};

/// A check that meets a change of the document starts anew this often.
const ATTEMPTS: usize = 3;

pub struct Orders {
    pub store: Store,
    pub capacities: Arc<Capacities>,
    pub world: World,
}

impl Orders {
    /// Moves a document that can be delivered to payment_pending. Doing it twice is the same as once.
    ///
    /// # Errors
    /// Not that user's; neither draft nor payment_pending; sources that do not suffice for a digest.
    pub async fn prepare(&self, user_id: &str, id: &str) -> Result<DocumentRow, DocumentError> {
        for _ in 0..ATTEMPTS {
            let row = owned(&self.store, user_id, id).await?;
            let status = status(&row)?;
            if !Status::ORDERABLE.contains(&status) {
                return Err(DocumentError::State { status, refused: "it cannot be ordered" });
            }
            match writer(&row)? {
                Writer::Digest => self.check_sources(&row).await?,
                Writer::OpenAi | Writer::Anthropic => {}
            }
            let checked = Checked {
                id,
                target_pages: row.target_pages,
                writer: &row.writer,
                sources_version: row.sources_version,
            };
            if self.store.await_payment(&checked, self.world.now()).await? {
                return owned(&self.store, user_id, id).await;
            }
        }
        Err(DocumentError::Busy)
    }

    /// Back to draft after an order that will not be paid; any other status stays.
    pub async fn release(&self, id: &str) -> Result<(), DocumentError> {
        self.store.document(id).await?.ok_or(DocumentError::NoDocument)?;
        Ok(self.store.release(id, self.world.now()).await?)
    }

    async fn check_sources(&self, row: &DocumentRow) -> Result<(), DocumentError> {
        if row.source_count == 0 {
            return Err(DocumentError::NoSources);
        }
        let max_pages = self.capacities.max_pages(row).await?;
        if row.target_pages > max_pages {
            return Err(DocumentError::TooFewSources { max_pages });
        }
        Ok(())
    }
}
