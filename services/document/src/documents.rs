//! What an owner does with a document: describe, read, list, change, remove.

use quire_clock::World;

use crate::error::DocumentError;
use crate::fallback;
use crate::files::Files;
use crate::page_token::{Cursor, Page};
use crate::spec::{Asked, Kind, Spec, SpecRules, Writer};
use crate::status::Status;
use crate::store::{DocumentRow, Store};

/// A change that meets another one starts anew this often.
const ATTEMPTS: usize = 3;

#[derive(Clone)]
pub struct Documents {
    pub store: Store,
    pub files: Files,
    pub rules: SpecRules,
    pub world: World,
}

impl Documents {
    /// Stores a new draft under an id. A second try with the same id finds the draft of the first.
    ///
    /// # Errors
    /// Every broken rule at once.
    pub async fn create(
        &self,
        id: String,
        user_id: &str,
        asked: &Asked,
    ) -> Result<DocumentRow, DocumentError> {
        let spec = self.rules.create(asked).map_err(DocumentError::Invalid)?;
        if let Some(known) = self.store.document(&id).await? {
            return Ok(known);
        }
        let now = self.world.now().unix_micros();
        let row = DocumentRow {
            id,
            user_id: user_id.to_owned(),
            title: spec.title,
            topic: spec.topic,
            language: spec.language,
            target_pages: spec.target_pages,
            kind: spec.kind.name().to_owned(),
            writer: spec.writer.name().to_owned(),
            fallback_writers: fallback::to_text(&spec.fallback_writers),
            status: Status::Draft.name().to_owned(),
            counted_pages: 0,
            failure: String::new(),
            job_id: None,
            job_epoch: 0,
            delivered_job_id: None,
            wished_chapters: "[]".to_owned(),
            outline: None,
            outline_job_id: None,
            review_outline: spec.review_outline,
            outline_review: String::new(),
            preview: None,
            source_count: 0,
            sources_version: 0,
            capacity: None,
            capacity_version: None,
            created_at: now,
            updated_at: now,
        };
        self.store.insert_document(row.clone()).await?;
        Ok(row)
    }

    /// Checks the fields that are present, and stores nothing.
    ///
    /// # Errors
    /// Every broken rule at once.
    pub fn check(&self, asked: &Asked) -> Result<(), DocumentError> {
        self.rules.check(asked).map_err(DocumentError::Invalid)
    }

    pub async fn get(&self, user_id: &str, id: &str) -> Result<DocumentRow, DocumentError> {
        owned(&self.store, user_id, id).await
    }

    /// One page of the user's documents, newest first, and the token of the next page, empty at the end.
    pub async fn list(
        &self,
        user_id: &str,
        page: &Page,
    ) -> Result<(Vec<DocumentRow>, String), DocumentError> {
        let mut rows = self.store.documents_of(user_id, page).await?;
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| more);
        let token = last.map(|row| Cursor { created_at: row.created_at, id: row.id.clone() }.token());
        Ok((rows, token.unwrap_or_default()))
    }

    /// Changes a draft; absent fields stay.
    ///
    /// # Errors
    /// Every broken rule at once; `DOCUMENT_STATE` when it is no draft.
    pub async fn update(&self, user_id: &str, id: &str, asked: &Asked) -> Result<DocumentRow, DocumentError> {
        for _ in 0..ATTEMPTS {
            let row = self.get(user_id, id).await?;
            let changed = self.changed(&row, asked)?;
            if self.store.redescribe(&changed, row.updated_at, self.world.now()).await? {
                return self.get(user_id, id).await;
            }
        }
        Err(DocumentError::Busy)
    }

    /// Checks a change, and stores nothing.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn check_update(&self, user_id: &str, id: &str, asked: &Asked) -> Result<(), DocumentError> {
        let row = self.get(user_id, id).await?;
        self.changed(&row, asked).map(|_| ())
    }

    /// Removes a document with its sources and exports.
    ///
    /// # Errors
    /// A conflict while it is being paid or written.
    pub async fn delete(&self, user_id: &str, id: &str) -> Result<(), DocumentError> {
        self.get(user_id, id).await?;
        let sources = self.store.sources(id).await?;
        let exports = self.store.export_keys_of(id).await?;
        if !self.store.delete_document(user_id, id).await? {
            let row = self.get(user_id, id).await?;
            return Err(DocumentError::Held(status(&row)?));
        }
        self.files.remove(sources.into_iter().map(|source| source.object_key).chain(exports)).await;
        Ok(())
    }

    fn changed(&self, row: &DocumentRow, asked: &Asked) -> Result<DocumentRow, DocumentError> {
        draft(row, "only a draft can be changed")?;
        let spec = self.rules.update(asked, &spec(row)?).map_err(DocumentError::Invalid)?;
        Ok(DocumentRow {
            title: spec.title,
            topic: spec.topic,
            language: spec.language,
            target_pages: spec.target_pages,
            kind: spec.kind.name().to_owned(),
            writer: spec.writer.name().to_owned(),
            review_outline: spec.review_outline,
            fallback_writers: fallback::to_text(&spec.fallback_writers),
            ..row.clone()
        })
    }
}

/// The document, if it is that user's. Somebody else's is as unknown as one that does not exist.
pub async fn owned(store: &Store, user_id: &str, id: &str) -> Result<DocumentRow, DocumentError> {
    store.document_of(user_id, id).await?.ok_or(DocumentError::NoDocument)
}

/// # Errors
/// `DOCUMENT_STATE` when it is no draft.
pub fn draft(row: &DocumentRow, refused: &'static str) -> Result<(), DocumentError> {
    match status(row)? {
        Status::Draft => Ok(()),
        status => Err(DocumentError::State { status, refused }),
    }
}

pub fn status(row: &DocumentRow) -> Result<Status, DocumentError> {
    Status::parse(&row.status).ok_or(DocumentError::Corrupt("status"))
}

pub fn kind(row: &DocumentRow) -> Result<Kind, DocumentError> {
    Kind::parse(&row.kind).ok_or(DocumentError::Corrupt("kind"))
}

pub fn writer(row: &DocumentRow) -> Result<Writer, DocumentError> {
    Writer::parse(&row.writer).ok_or(DocumentError::Corrupt("writer"))
}

pub fn fallback_writers(row: &DocumentRow) -> Result<Vec<Writer>, DocumentError> {
    fallback::from_text(&row.fallback_writers).ok_or(DocumentError::Corrupt("fallback_writers"))
}

fn spec(row: &DocumentRow) -> Result<Spec, DocumentError> {
    Ok(Spec {
        title: row.title.clone(),
        topic: row.topic.clone(),
        language: row.language.clone(),
        target_pages: row.target_pages,
        kind: kind(row)?,
        writer: writer(row)?,
        review_outline: row.review_outline,
        fallback_writers: fallback_writers(row)?,
    })
}
