//! The rules of a text that a request carries: its length, and no control characters, because PostgreSQL does
//! not store U+0000 and no reader wants the others.

use quire_fault::{Rule, Violation};

/// Checks a text of one line. Like its length, the characters are those after trimming.
pub fn line(field: &str, text: &str, min: usize, max: usize) -> Option<Violation> {
    check(field, text, (min, max), &[])
}

/// Checks a text that may have line breaks and tabs in it.
pub fn lines(field: &str, text: &str, min: usize, max: usize) -> Option<Violation> {
    check(field, text, (min, max), &['\n', '\r', '\t'])
}

fn check(field: &str, text: &str, (min, max): (usize, usize), accepted: &[char]) -> Option<Violation> {
    Violation::text_length(field, text, min, max).or_else(|| {
        let refused = |character: char| character.is_control() && !accepted.contains(&character);
        let rule = || Rule::Value("control characters are not accepted".to_owned());
        text.trim().chars().any(refused).then(|| Violation::new(field, rule()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_refused_and_lines_may_break() {
        let refused =
            Some(Violation::new("title", Rule::Value("control characters are not accepted".to_owned())));
        for text in ["a\0b", "a\u{1b}b", "a\u{85}b", "\0"] {
            assert_eq!(line("title", text, 1, 9), refused);
            assert_eq!(lines("title", text, 1, 9), refused);
        }
        assert_eq!(line("title", "a\nb", 1, 9), refused);
        assert_eq!(lines("title", "a\r\n\tb", 1, 9), None);
        assert_eq!(line("title", " Büchér 本\n", 1, 9), None);
    }

    #[test]
    fn the_length_is_checked_first() {
        assert_eq!(line("title", "a\0b", 1, 2), Some(Violation::new("title", Rule::StringTooLong(2))));
    }
}
