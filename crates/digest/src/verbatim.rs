//! Word for word: what counts as the same text on a page and in a quotation.

/// The form in which a page and a quotation are compared: letters, digits and punctuation in order, without
/// white space, without hyphens (so that a word divided at a line's end equals the undivided one) and
/// without Markdown's emphasis, code and link marks. No Unicode folding and no change of case.
///
/// Apply it to both sides: a quotation is verbatim when the page's form contains its own.
pub fn normalise_page(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        if let Some(end) = link_target_end(&text[at..]) {
            at += end;
            continue;
        }
        match character {
            '-' | '\u{ad}' | '\u{2010}' | '\u{2011}' | '*' | '_' | '`' | '[' | ']' => {}
            '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => {}
            other if other.is_whitespace() || other.is_control() => {}
            other => out.push(other),
        }
        at += character.len_utf8();
    }
    out
}

/// Whether `quotation` stands word for word on `page`, by [`normalise_page`].
pub fn is_verbatim(page: &str, quotation: &str) -> bool {
    let wanted = normalise_page(quotation);
    !wanted.is_empty() && normalise_page(page).contains(&wanted)
}

/// Takes Markdown's inline marks out of a line meant for reading.
pub(crate) fn without_markdown(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while let Some(character) = line[at..].chars().next() {
        let next = at + character.len_utf8();
        let before = line[..at].chars().next_back();
        let after = line[next..].chars().next();
        match character {
            '`' => {}
            '*' | '_' => {
                // A mark stands at a word's edge; inside a word (`snake_case`) or between spaces it is text.
                let inside =
                    before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric);
                let loose = before.is_none_or(char::is_whitespace) && after.is_none_or(char::is_whitespace);
                if inside || loose {
                    out.push(character);
                }
            }
            '[' if link_at(&line[at..]).is_some() => {}
            ']' => match link_target_end(&line[at..]) {
                Some(end) => {
                    at += end;
                    continue;
                }
                None => out.push(character),
            },
            '!' if after == Some('[') && link_at(&line[next..]).is_some() => out.push(character),
            other => out.push(other),
        }
        at = next;
    }
    out
}

/// The length of `](target)` at the start of `text`.
fn link_target_end(text: &str) -> Option<usize> {
    let target = text.strip_prefix("](")?;
    let end = target.find(')')?;
    let target = &target[..end];
    // A Markdown target holds no white space but before a quoted title.
    (!target.contains('\n')).then_some(2 + end + 1)
}

fn link_at(text: &str) -> Option<usize> {
    let close = text.find(']')?;
    link_target_end(&text[close..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_divided_at_a_line_end_equals_the_whole_word() {
        assert!(is_verbatim("Die Softwarepa-\nketen bleiben gleich.", "Die Softwarepaketen bleiben gleich."));
        assert!(is_verbatim("running apt full-\nupgrade today", "running apt full-upgrade today"));
    }

    #[test]
    fn another_word_or_another_order_is_not_verbatim() {
        assert!(!is_verbatim("The archive holds packages.", "The archive holds no packages."));
        assert!(!is_verbatim("The archive holds packages.", "Packages the archive holds."));
        assert!(!is_verbatim("The archive.", "  "));
    }

    #[test]
    fn markdown_marks_are_left_out_for_reading_and_for_comparing() {
        let line = "A **bold** claim, see [the manual](https://example.org/a) and `snake_case` names.";
        let shown = without_markdown(line);
        assert_eq!(shown, "A bold claim, see the manual and snake_case names.");
        assert!(is_verbatim(line, &shown));
    }
}
