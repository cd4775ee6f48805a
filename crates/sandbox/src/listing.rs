//! Stripe's cursor pagination: newest first, a page before or after an object that the caller has seen.

use serde_json::{Value, json};

use crate::form::Params;
use crate::record::{Row, Table};
use crate::refusal::Refusal;

const DEFAULT_LIMIT: i64 = 10;
const MAX_LIMIT: i64 = 100;

/// Which page is wanted.
pub(crate) struct Cursor {
    limit: usize,
    starting_after: Option<String>,
    ending_before: Option<String>,
}

impl Cursor {
    /// Takes `limit`, `starting_after` and `ending_before` out of the parameters.
    pub(crate) fn take(params: &mut Params) -> Result<Self, Refusal> {
        let limit = params.integer("limit")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Refusal::parameter(
                "parameter_invalid_integer",
                "limit",
                "The limit must be between 1 and 100.",
            ));
        }
        let starting_after = params.text("starting_after")?;
        let ending_before = params.text("ending_before")?;
        if starting_after.is_some() && ending_before.is_some() {
            return Err(Refusal::parameter(
                "parameters_exclusive",
                "ending_before",
                "Only one of starting_after and ending_before can be given.",
            ));
        }
        Ok(Self { limit: usize::try_from(limit).unwrap_or(1), starting_after, ending_before })
    }

    /// The rows of the page that pass the filter, in Stripe's list object.
    pub(crate) fn page<T: Row>(
        &self,
        table: &Table<T>,
        url: &str,
        keep: impl Fn(&T) -> bool,
        render: impl Fn(&T) -> Value,
    ) -> Result<Value, Refusal> {
        let find =
            |param: &str, id: &str| table.position(id).ok_or_else(|| Refusal::missing("object", param, id));
        let rows = table.rows();
        let one_more = self.limit + 1;
        let mut page: Vec<&T> = if let Some(id) = &self.ending_before {
            // The page next to the cursor, not the newest one: a reader can walk up to the present.
            let newer = &rows[find("ending_before", id)? + 1..];
            newer.iter().filter(|row| keep(row)).take(one_more).collect()
        } else {
            let end = match &self.starting_after {
                Some(id) => find("starting_after", id)?,
                None => rows.len(),
            };
            rows[..end].iter().rev().filter(|row| keep(row)).take(one_more).collect()
        };
        let has_more = page.len() > self.limit;
        page.truncate(self.limit);
        if self.ending_before.is_some() {
            page.reverse();
        }
        let data: Vec<Value> = page.into_iter().map(render).collect();
        Ok(json!({ "object": "list", "url": url, "has_more": has_more, "data": data }))
    }
}
