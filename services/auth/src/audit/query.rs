//! Reading the log, filtered and page by page.

use quire_clock::Timestamp;
use quire_fault::{Rule, Violation};
use sea_orm::sea_query::Condition;
use sea_orm::{ColumnTrait, ConnectionTrait};

use crate::error::AuthError;
use crate::page;
use crate::store;
use crate::store::audit_event::{self, Column};

/// Longer filters match nothing that is stored.
const MAX_TEXT: usize = 200;

/// Which events; an empty text is no filter.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    pub page_size: i32,
    pub page_token: String,
    pub user_id: String,
    pub session_id: String,
    /// With a final dot, every action that begins so.
    pub action: String,
    pub outcome: String,
    pub reason: String,
    pub client_address: String,
    pub request_id: String,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// One page of the log.
pub struct Page {
    pub events: Vec<audit_event::Model>,
    /// Empty at the end.
    pub next: String,
}

impl AuditQuery {
    /// Events newest first.
    ///
    /// # Errors
    /// The size, the page token or a filter is not accepted, or the database is gone.
    pub async fn page(&self, connection: &impl ConnectionTrait) -> Result<Page, AuthError> {
        let violations = self.violations();
        if !violations.is_empty() {
            return Err(AuthError::Invalid(violations));
        }
        let size = page::size(self.page_size);
        let mut matching = self.condition();
        if !self.page_token.is_empty() {
            let before = page::decode(&self.page_token).and_then(|seq| seq.parse::<i64>().ok());
            matching = matching.add(Column::Seq.lt(before.ok_or(AuthError::PageToken)?));
        }
        let mut events = store::events(connection, matching, size + 1).await?;
        let more = page::cut(&mut events, size);
        let next = events.last().filter(|_| more).map(|event| page::encode(&event.seq.to_string()));
        Ok(Page { events, next: next.unwrap_or_default() })
    }

    fn texts(&self) -> [(&'static str, Column, &str); 7] {
        [
            ("user_id", Column::UserId, &self.user_id),
            ("session_id", Column::SessionId, &self.session_id),
            ("action", Column::Action, &self.action),
            ("outcome", Column::Outcome, &self.outcome),
            ("reason", Column::Reason, &self.reason),
            ("client_address", Column::ClientAddress, &self.client_address),
            ("request_id", Column::RequestId, &self.request_id),
        ]
    }

    fn violations(&self) -> Vec<Violation> {
        let mut violations: Vec<Violation> = page::violation(self.page_size).into_iter().collect();
        for (field, _, text) in self.texts() {
            if text.len() > MAX_TEXT {
                violations.push(Violation::new(field, Rule::StringTooLong(MAX_TEXT as i64)));
            } else if text.contains('\0') {
                // PostgreSQL refuses it instead of finding nothing.
                violations.push(Violation::new(field, Rule::Value("U+0000 is not accepted".to_owned())));
            }
        }
        if !["", "success", "failure"].contains(&self.outcome.as_str()) {
            let accepted = ["success", "failure"].map(str::to_owned).to_vec();
            violations.push(Violation::new("outcome", Rule::Enum(accepted)));
        }
        violations
    }

    fn condition(&self) -> Condition {
        let mut matching = Condition::all();
        for (field, column, text) in self.texts() {
            matching = match text {
                "" => matching,
                prefix if field == "action" && prefix.ends_with('.') => {
                    matching.add(column.starts_with(prefix))
                }
                text => matching.add(column.eq(text)),
            };
        }
        if let Some(since) = self.since {
            matching = matching.add(Column::At.gte(since.unix_micros()));
        }
        if let Some(until) = self.until {
            matching = matching.add(Column::At.lt(until.unix_micros()));
        }
        matching
    }
}
