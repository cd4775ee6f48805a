//! What the job service does with a document: takes it, writes it behind a fence, reports where it stands.

use quire_clock::World;
use quire_database::WriteTransaction;
use quire_fault::{Rule, Violation};
use quire_manuscript::Block;
use sea_orm::DatabaseTransaction;

use crate::documents::status;
use crate::error::DocumentError;
use crate::files::Files;
use crate::id::is_id;
use crate::outline::{Outline, wished, written};
use crate::preview;
use crate::status::Status;
use crate::store::{DocumentRow, SectionRow, SourceRow, Store, WAITING};
use crate::store::{exports as export_rows, find, writing as rows};
use crate::text_rule;

/// What the customer reads about a failure.
const MAX_FAILURE: usize = 1000;
const MAX_WRITER: usize = 200;
const MAX_JOB_ID: usize = 100;

/// A write is accepted only from the document's job, and from no older epoch than the newest seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub job_id: String,
    pub epoch: i64,
}

/// Everything a writer needs, without the text of the sources.
pub struct Brief {
    pub document: DocumentRow,
    pub chapter_titles: Vec<String>,
    pub sources: Vec<SourceRow>,
    /// As [`preview::revision`].
    pub revision: String,
    /// Whether an outline that was planned for that is shown.
    pub previewed: bool,
}

/// A section to be stored.
pub struct NewSection {
    pub key: String,
    /// The manuscript's block tree.
    pub blocks_json: String,
    pub writer: String,
}

/// Where a job stands.
pub struct Report {
    pub status: Status,
    /// Pages of the typeset PDF; with [`Status::Completed`], and with [`Status::Cancelled`] when the part that was
    /// finished is delivered.
    pub counted_pages: i32,
    /// Only with [`Status::Failed`].
    pub failure: String,
}

pub struct Writing {
    pub store: Store,
    pub files: Files,
    pub world: World,
}

impl Writing {
    /// Queues the document for a job. The same job again changes nothing.
    ///
    /// # Errors
    /// A conflict while another job is at work, when this job has delivered already and a later one took over,
    /// and, with `only_unwritten`, when another job has had the document at all.
    pub async fn attach(&self, id: &str, job_id: &str, only_unwritten: bool) -> Result<(), DocumentError> {
        if job_id.is_empty() {
            return Err(DocumentError::field("job_id", Rule::Missing));
        }
        if let Some(violation) = text_rule::line("job_id", job_id, 1, MAX_JOB_ID) {
            return Err(DocumentError::Invalid(vec![violation]));
        }
        let row = self.store.document(id).await?.ok_or(DocumentError::NoDocument)?;
        if row.job_id.as_deref() == Some(job_id) {
            return Ok(());
        }
        if row.delivered_job_id.as_deref() == Some(job_id) {
            return Err(DocumentError::OtherJob);
        }
        let only_in: &[Status] = if only_unwritten { &Status::UNWRITTEN } else { &Status::ATTACHABLE };
        if self.store.attach(id, job_id, only_in, self.world.now()).await? {
            return Ok(());
        }
        // The same call may have been faster on another connection.
        let row = self.store.document(id).await?.ok_or(DocumentError::NoDocument)?;
        if row.job_id.as_deref() == Some(job_id) { Ok(()) } else { Err(DocumentError::OtherJob) }
    }

    pub async fn brief(&self, id: &str) -> Result<Brief, DocumentError> {
        let document = self.store.document(id).await?.ok_or(DocumentError::NoDocument)?;
        let sources = self.store.sources(id).await?;
        let revision = preview::revision(&document, &sources)?;
        let previewed = preview::stored(&document)?.is_some_and(|preview| preview.revision == revision);
        Ok(Brief { chapter_titles: wished(&document)?, sources, document, revision, previewed })
    }

    /// Stores the outline that will be written. Sections that stand in it unchanged keep their text, unless
    /// an earlier job wrote it.
    ///
    /// # Errors
    /// Fenced; not being written; every broken rule at once.
    pub async fn put_outline(&self, id: &str, fence: &Fence, outline: &Outline) -> Result<(), DocumentError> {
        // Checked before the transaction, which holds the database's write lock, and reported behind the fence.
        let violations = outline.violations();
        let (transaction, row) = self.open(id, fence).await?;
        being_written(&row)?;
        if !violations.is_empty() {
            return Err(DocumentError::Invalid(violations));
        }
        let same_job = row.outline_job_id.as_deref() == Some(fence.job_id.as_str());
        let earlier = if same_job { written(&row)? } else { None };
        let kept = earlier.map(|earlier| outline.common_keys(&earlier)).unwrap_or_default();
        rows::keep_sections(&transaction, id, kept).await?;
        rows::set_outline(&transaction, id, (&serde_json::to_string(outline)?, ""), &fence.job_id).await?;
        Ok(transaction.commit().await?)
    }

    /// Shows an outline to the customer, who has to approve it. One that this job has shown already stays as the
    /// customer has changed it.
    ///
    /// # Errors
    /// As [`Self::put_outline`].
    pub async fn propose_outline(
        &self,
        id: &str,
        fence: &Fence,
        outline: &Outline,
    ) -> Result<(), DocumentError> {
        let violations = outline.violations();
        let (transaction, row) = self.open(id, fence).await?;
        being_written(&row)?;
        if !violations.is_empty() {
            return Err(DocumentError::Invalid(violations));
        }
        let shown =
            row.outline_job_id.as_deref() == Some(fence.job_id.as_str()) && !row.outline_review.is_empty();
        if !shown {
            let json = serde_json::to_string(outline)?;
            rows::keep_sections(&transaction, id, Vec::new()).await?;
            rows::set_outline(&transaction, id, (&json, WAITING), &fence.job_id).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// The outline that the customer has approved, as it stands. From now on it can no longer be changed. Taking it again
    /// gives the same.
    ///
    /// # Errors
    /// Fenced; not being written; this job has proposed none.
    pub async fn take_outline(&self, id: &str, fence: &Fence) -> Result<Outline, DocumentError> {
        let (transaction, row) = self.open(id, fence).await?;
        being_written(&row)?;
        let own = row.outline_job_id.as_deref() == Some(fence.job_id.as_str());
        let outline = written(&row)?.filter(|_| own);
        let refused = "this job has proposed no outline";
        let outline = outline.ok_or(DocumentError::State { status: status(&row)?, refused })?;
        rows::take_outline(&transaction, id).await?;
        transaction.commit().await?;
        Ok(outline)
    }

    /// Stores a section, in place of one with the same key.
    ///
    /// # Errors
    /// Fenced; not being written; a key that is not in the outline; blocks that are no blocks.
    pub async fn put_section(
        &self,
        id: &str,
        fence: &Fence,
        section: NewSection,
    ) -> Result<(), DocumentError> {
        let mut violations = Vec::new();
        if serde_json::from_str::<Vec<Block>>(&section.blocks_json).is_err() {
            let rule = Rule::Value("this is not a list of manuscript blocks".to_owned());
            violations.push(Violation::new("blocks_json", rule));
        }
        violations.extend(text_rule::line("writer", &section.writer, 1, MAX_WRITER));
        let (transaction, row) = self.open(id, fence).await?;
        being_written(&row)?;
        if !violations.is_empty() {
            return Err(DocumentError::Invalid(violations));
        }
        let outline = written(&row)?.unwrap_or_default();
        if !outline.sections().any(|planned| planned.key == section.key) {
            let rule = Rule::Value("the outline has no section with this key".to_owned());
            return Err(DocumentError::field("key", rule));
        }
        let row = SectionRow {
            document_id: id.to_owned(),
            section_key: section.key,
            blocks: section.blocks_json,
            writer: section.writer,
            written_at: self.world.now().unix_micros(),
        };
        rows::put_section(&transaction, row).await?;
        Ok(transaction.commit().await?)
    }

    /// Sets the status while and after the job runs. The present status again changes nothing. Only a
    /// completed job's files take the place of those delivered before. A cancelled job delivers the part that it
    /// counts the pages of; else what a failed or cancelled one exported is removed.
    ///
    /// # Errors
    /// Fenced; a move that is not allowed; delivered without pages or without a PDF of this job; a part although
    /// another job has delivered.
    pub async fn report(&self, id: &str, fence: &Fence, report: &Report) -> Result<(), DocumentError> {
        let (transaction, row) = self.open(id, fence).await?;
        if report.status == Status::Completed && report.counted_pages < 1 {
            return Err(DocumentError::field("counted_pages", Rule::GreaterThanEqual(1)));
        }
        let present = status(&row)?;
        if !present.may_report(report.status) {
            return Err(DocumentError::State { status: present, refused: "its job cannot report this now" });
        }
        let mut stale = Vec::new();
        if present != report.status {
            match report.status {
                Status::Completed => {
                    stale = export_rows::remove_of_other_jobs(&transaction, id, &fence.job_id).await?;
                    deliver(&transaction, id, fence, report.counted_pages).await?;
                }
                // A part takes no whole document's place.
                Status::Cancelled if report.counted_pages > 0 && row.delivered_job_id.is_some() => {
                    return Err(DocumentError::OtherJob);
                }
                Status::Cancelled if report.counted_pages > 0 => {
                    deliver(&transaction, id, fence, report.counted_pages).await?;
                }
                Status::Failed | Status::Cancelled => {
                    stale = export_rows::remove_of_job(&transaction, id, &fence.job_id).await?;
                }
                Status::Draft | Status::PaymentPending | Status::Queued | Status::Generating => {}
            }
            let failed = report.status == Status::Failed;
            let failure = if failed { shown(&report.failure) } else { String::new() };
            rows::report(&transaction, id, report.status, &failure).await?;
        }
        transaction.commit().await?;
        self.files.remove(stale).await;
        Ok(())
    }

    /// Refuses a job that has lost the document, before it sends a file.
    pub async fn check_fence(&self, id: &str, fence: &Fence) -> Result<(), DocumentError> {
        let (transaction, row) = self.open(id, fence).await?;
        being_written(&row)?;
        Ok(transaction.commit().await?)
    }

    /// Starts a write transaction behind the fence, and reads the document inside it.
    pub async fn open(
        &self,
        id: &str,
        fence: &Fence,
    ) -> Result<(WriteTransaction, DocumentRow), DocumentError> {
        if !is_id(id) {
            return Err(DocumentError::NoDocument);
        }
        let transaction = self.store.begin_write().await?;
        let now = self.world.now();
        if !rows::pass_fence(&transaction, id, (&fence.job_id, fence.epoch), now).await? {
            drop(transaction);
            let known = self.store.document(id).await?.is_some();
            return Err(if known { DocumentError::Fenced } else { DocumentError::NoDocument });
        }
        let row = find(&transaction, id).await?.ok_or(DocumentError::NoDocument)?;
        Ok((transaction, row))
    }
}

/// From now on the customer downloads what the job exported.
///
/// # Errors
/// It has exported no PDF.
async fn deliver(
    transaction: &DatabaseTransaction,
    id: &str,
    fence: &Fence,
    counted_pages: i32,
) -> Result<(), DocumentError> {
    let format = crate::exports::Format::Pdf.name();
    export_rows::find(transaction, id, &fence.job_id, format).await?.ok_or(DocumentError::NoPdf)?;
    Ok(rows::deliver(transaction, id, &fence.job_id, counted_pages).await?)
}

/// # Errors
/// `DOCUMENT_STATE` unless a job is at work.
pub fn being_written(row: &DocumentRow) -> Result<(), DocumentError> {
    let status = status(row)?;
    if Status::ACTIVE.contains(&status) {
        return Ok(());
    }
    Err(DocumentError::State { status, refused: "only a document that is being written takes text" })
}

/// A failure as the customer reads it: not endless, and without control characters, one of which PostgreSQL
/// does not store.
fn shown(failure: &str) -> String {
    failure
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_FAILURE)
        .collect()
}
