//! Stripe's cursor pagination: newest first, a page before or after an object that the caller has seen.

use serde_json::{Value, json};

use crate::form::Params;
use crate::refusal::Refusal;
use crate::table::{Row, Table};

const DEFAULT_LIMIT: i64 = 10;
const MAX_LIMIT: i64 = 100;

/// Which page is wanted, of the objects made in which time.
pub(crate) struct Cursor {
    limit: usize,
    starting_after: Option<String>,
    ending_before: Option<String>,
    created: Span,
}

/// A time between bounds, in seconds since the Unix epoch.
struct Span {
    after: Option<i64>,
    from: Option<i64>,
    before: Option<i64>,
    until: Option<i64>,
}

impl Cursor {
    /// Takes `limit`, `starting_after`, `ending_before` and `created` out of the parameters.
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
        let created = Span::take(params)?;
        Ok(Self { limit: usize::try_from(limit).unwrap_or(1), starting_after, ending_before, created })
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
        let keep = |row: &T| self.created.contains(row.created()) && keep(row);
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

impl Span {
    /// Takes `created[gt]`, `created[gte]`, `created[lt]` and `created[lte]` out of the parameters.
    fn take(params: &mut Params) -> Result<Self, Refusal> {
        let mut created = params.group("created")?;
        let span = Self {
            after: created.integer("gt")?,
            from: created.integer("gte")?,
            before: created.integer("lt")?,
            until: created.integer("lte")?,
        };
        created.finish()?;
        Ok(span)
    }

    fn contains(&self, moment: i64) -> bool {
        self.after.is_none_or(|after| moment > after)
            && self.from.is_none_or(|from| moment >= from)
            && self.before.is_none_or(|before| moment < before)
            && self.until.is_none_or(|until| moment <= until)
    }
}
