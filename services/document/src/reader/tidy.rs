//! Makes extracted text uniform: no control characters, no presentation forms, no soft hyphens.

/// Expands ligatures of Latin script, joins words that a soft hyphen breaks, and drops control characters,
/// which no database and no reader wants. Line breaks, tabs and everything else stay.
pub(super) fn tidy(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {
                if characters.peek() != Some(&'\n') {
                    clean.push('\n');
                }
            }
            '\n' | '\t' => clean.push(character),
            '\u{c}' | '\u{b}' | '\u{85}' | '\u{2028}' => clean.push('\n'),
            '\u{2029}' => clean.push_str("\n\n"),
            '\u{ad}' => {
                // At the end of a line it marks a word that goes on in the next one.
                if characters.peek() == Some(&'\n') {
                    characters.next();
                }
            }
            '\u{fb00}' => clean.push_str("ff"),
            '\u{fb01}' => clean.push_str("fi"),
            '\u{fb02}' => clean.push_str("fl"),
            '\u{fb03}' => clean.push_str("ffi"),
            '\u{fb04}' => clean.push_str("ffl"),
            '\u{fb05}' | '\u{fb06}' => clean.push_str("st"),
            '\u{feff}' | '\u{200b}' | '\u{fffe}' | '\u{ffff}' => {}
            '\u{a0}' | '\u{202f}' | '\u{2007}' => clean.push(' '),
            other if other.is_control() => {}
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ligatures_are_letters_and_soft_hyphens_are_gone() {
        assert_eq!(tidy("e\u{fb03}cient o\u{fb00}er"), "efficient offer");
        assert_eq!(tidy("Buch\u{ad}\nbinder und Pa\u{ad}pier"), "Buchbinder und Papier");
    }

    #[test]
    fn control_characters_are_dropped_and_line_ends_are_one() {
        assert_eq!(tidy("a\0b\r\nc\rd\u{c}e\tf"), "ab\nc\nd\ne\tf");
    }
}
