//! Lists page by page: sizes and page tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quire_fault::Violation;

const DEFAULT: u64 = 50;
const MOST: i64 = 200;

/// The broken rule, if a page size is not accepted.
pub fn violation(size: i32) -> Option<Violation> {
    Violation::range("page_size", i64::from(size), 0, MOST)
}

/// Rows of a page; 0 means 50.
pub fn size(size: i32) -> u64 {
    if size == 0 { DEFAULT } else { u64::from(size.unsigned_abs()) }
}

/// Cuts off the row that was read only to see whether there is one.
pub fn cut<T>(rows: &mut Vec<T>, size: u64) -> bool {
    let more = rows.len() as u64 > size;
    rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    more
}

/// The place of a row in the order, as a page token.
pub fn encode(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

/// The place in a page token; `None` if it is not one of ours.
pub fn decode(token: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    // PostgreSQL refuses some texts, such as U+0000, instead of not finding them.
    text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-').then_some(text)
}
