//! Opaque cursors of lists.

use quire_fault::{Rule, Violation};

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
        Some(Self { created_at: created_at.parse().ok()?, id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back() {
        let cursor = Cursor { created_at: 1_795_467_200_000_001, id: "0199".to_owned() };
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
    fn a_size_of_zero_is_twenty_and_never_above_a_hundred() {
        assert_eq!(Page::read(0, "").unwrap().size, 20);
        assert_eq!(Page::read(5000, "").unwrap().size, 100);
    }
}
