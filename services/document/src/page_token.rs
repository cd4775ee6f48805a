//! Opaque cursors of lists.

use quire_fault::{Rule, Violation};

use crate::id::is_id;

const DEFAULT_SIZE: u64 = 20;
const MAX_SIZE: u64 = 100;

/// A place in the list of documents, newest first: everything after it is older.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Unix time in microseconds.
    pub created_at: i64,
    pub id: String,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub size: u64,
    pub after: Option<Cursor>,
}

impl Page {
    /// Reads the two fields of a list request. 0 means 20 entries, more than 100 means 100.
    ///
    /// # Errors
    /// A negative size, or a token that was not given out.
    pub fn read(size: i32, token: &str) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let asked = u64::try_from(size).unwrap_or_else(|_| {
            violations.push(Violation::new("page_size", Rule::GreaterThanEqual(0)));
            0
        });
        let after = if token.is_empty() { None } else { Cursor::parse(token) };
        if after.is_none() && !token.is_empty() {
            violations.push(Violation::new("page_token", Rule::Value("this token was not given out".into())));
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        Ok(Self { size: if asked == 0 { DEFAULT_SIZE } else { asked.min(MAX_SIZE) }, after })
    }
}

impl Cursor {
    pub fn token(&self) -> String {
        hex::encode(format!("{}:{}", self.created_at, self.id))
    }

    fn parse(token: &str) -> Option<Self> {
        let text = String::from_utf8(hex::decode(token).ok()?).ok()?;
        let (created_at, id) = text.split_once(':')?;
        let created_at = created_at.parse().ok()?;
        is_id(id).then(|| Self { created_at, id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back() {
        let cursor = Cursor {
            created_at: 1_795_467_200_000_001,
            id: "0199a5b2-7c3d-7e4f-8a1b-2c3d4e5f6a7b".to_owned(),
        };
        assert_eq!(Page::read(7, &cursor.token()), Ok(Page { size: 7, after: Some(cursor) }));
    }

    #[test]
    fn a_negative_size_and_a_foreign_token_are_both_reported() {
        let violations = Page::read(-1, "zz").unwrap_err();
        assert_eq!(violations.len(), 2);
        assert_eq!(violations[0], Violation::new("page_size", Rule::GreaterThanEqual(0)));
        assert_eq!(violations[1].field, "page_token");
    }

    #[test]
    fn a_token_with_anything_but_an_id_in_it_was_not_given_out() {
        for inside in ["7:0199", "7:\0", "x:0199a5b2-7c3d-7e4f-8a1b-2c3d4e5f6a7b", "7"] {
            let token = hex::encode(inside);
            assert_eq!(Page::read(7, &token).unwrap_err()[0].field, "page_token", "{inside:?}");
        }
    }

    #[test]
    fn a_size_of_zero_is_twenty_and_never_above_a_hundred() {
        assert_eq!(Page::read(0, "").unwrap().size, 20);
        assert_eq!(Page::read(5000, "").unwrap().size, 100);
    }
}
