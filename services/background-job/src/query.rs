//! Looking at jobs: owners see their own, operators all.

use quire_fault::{Fault, Rule, Violation};
use quire_identity::UserCaller;
use quire_proto::document::v1::{Document, GetBriefResponse};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::error::JobError;
use crate::peers::Documents;
use crate::store::entity::job;
use crate::store::{Status, Store};

const MAX_PAGE: i32 = 100;
const DEFAULT_PAGE: i32 = 20;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The user with this id, who sees their own jobs.
    Owner(String),
    /// Sees everybody's.
    Operator,
}

impl Caller {
    /// Whether the caller may see what belongs to that user.
    pub fn may_see(&self, user_id: &str) -> bool {
        match self {
            Self::Owner(own) => own == user_id,
            Self::Operator => true,
        }
    }
}

impl From<UserCaller> for Caller {
    fn from(user: UserCaller) -> Self {
        if user.is_admin() { Self::Operator } else { Self::Owner(user.user_id) }
    }
}

/// The job, if the caller may see it.
///
/// # Errors
/// [`JobError::NotFound`] for other users' jobs too.
pub async fn get(store: &Store, caller: &Caller, id: &str) -> Result<job::Model, JobError> {
    if !is_id(id) {
        return Err(JobError::NotFound);
    }
    let job = store.job(id).await?.ok_or(JobError::NotFound)?;
    if caller.may_see(&job.user_id) { Ok(job) } else { Err(JobError::NotFound) }
}

/// What the document service says of a document, if the caller may see it.
///
/// # Errors
/// The document service refuses, or cannot be reached.
pub async fn brief(
    documents: &Documents,
    caller: &Caller,
    document_id: &str,
) -> Result<Option<(Document, GetBriefResponse)>, JobError> {
    if !is_id(document_id) {
        return Ok(None);
    }
    let brief = documents.brief(document_id).await;
    let mut brief = brief.map_err(|status| JobError::Peer(Fault::from(&status)))?;
    let document = brief.document.take().filter(|document| caller.may_see(&document.user_id));
    Ok(document.map(|document| (document, brief)))
}

/// One page of jobs, newest first.
#[derive(Debug)]
pub struct Page {
    pub jobs: Vec<job::Model>,
    /// Empty at the end.
    pub next_page_token: String,
}

/// What to list.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// 0: the default.
    pub page_size: i32,
    /// Empty: from the start.
    pub page_token: &'a str,
    /// Empty: of all documents.
    pub document_id: &'a str,
    /// `None`: wherever they stand.
    pub status: Option<Status>,
}

/// The caller's jobs; an operator gets everybody's.
///
/// # Errors
/// The page size or the token is not acceptable.
pub async fn list(store: &Store, caller: &Caller, listing: Listing<'_>) -> Result<Page, JobError> {
    if listing.page_size < 0 {
        return Err(JobError::Invalid(vec![Violation::new("page_size", Rule::GreaterThanEqual(0))]));
    }
    let size = match listing.page_size {
        0 => DEFAULT_PAGE,
        size => size.min(MAX_PAGE),
    };
    let mut select = job::Entity::find();
    if let Caller::Owner(user_id) = caller {
        select = select.filter(job::Column::UserId.eq(user_id));
    }
    if let Some(status) = listing.status {
        select = select.filter(job::Column::Status.eq(status.name()));
    }
    if !listing.document_id.is_empty() {
        if !is_id(listing.document_id) {
            return Ok(Page { jobs: Vec::new(), next_page_token: String::new() });
        }
        select = select.filter(job::Column::DocumentId.eq(listing.document_id));
    }
    if !listing.page_token.is_empty() {
        let (created_at, id) = read_token(listing.page_token).ok_or(JobError::PageToken)?;
        let same_time =
            Condition::all().add(job::Column::CreatedAt.eq(created_at)).add(job::Column::Id.lt(id));
        select = select.filter(Condition::any().add(job::Column::CreatedAt.lt(created_at)).add(same_time));
    }
    let wanted = usize::try_from(size).expect("checked to be positive");
    let mut jobs = select
        .order_by_desc(job::Column::CreatedAt)
        .order_by_desc(job::Column::Id)
        .limit(wanted as u64 + 1)
        .all(store.database.reader())
        .await?;
    let more = jobs.len() > wanted;
    jobs.truncate(wanted);
    let next_page_token = match jobs.last() {
        Some(last) if more => token(last.created_at, &last.id),
        _ => String::new(),
    };
    Ok(Page { jobs, next_page_token })
}

/// Whether a text can be an id at all. PostgreSQL refuses U+0000 instead of not finding it.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.contains(char::is_control)
}

fn token(created_at: i64, id: &str) -> String {
    hex::encode(format!("{created_at}:{id}"))
}

fn read_token(token: &str) -> Option<(i64, String)> {
    let text = String::from_utf8(hex::decode(token).ok()?).ok()?;
    let (created_at, id) = text.split_once(':')?;
    let created_at = created_at.parse().ok()?;
    is_id(id).then(|| (created_at, id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_others_are_refused() {
        let id = "01a20a79-a7a9-7911-bbb2-86e7c0278a66";
        assert_eq!(read_token(&token(17, id)), Some((17, id.to_owned())));
        for wrong in ["zz", "3132", "ff", &token(17, ""), &token(17, "\0")] {
            assert_eq!(read_token(wrong), None);
        }
    }
}
