//! Writes text so that a Markdown reader shows it literally.

use crate::Inline;
use crate::book::is_web_address;

/// Where a piece of text stands; decides what would be read as markup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A paragraph or list item; further lines start with this indent.
    Flow { indent: usize },
    /// A heading or a table cell: everything on one line.
    Line,
}

/// How the numbers of citations are found.
pub(super) type CiteText<'a> = &'a dyn Fn(&crate::Cite) -> String;

/// Writes runs so that they appear with their emphasis and every character literally.
pub(super) fn inlines(inlines: &[Inline], place: Place, cite_text: CiteText<'_>) -> String {
    let mut out = Runs { out: String::new(), place, styled_end: false };
    for (index, inline) in inlines.iter().enumerate() {
        let next = inlines.get(index + 1).and_then(first_char);
        out.push(inline, next, cite_text);
    }
    out.out.trim_end().to_owned()
}

/// Writes plain text so that it appears literally.
pub(super) fn text(plain: &str, place: Place) -> String {
    let mut out = String::new();
    push_text(&mut out, plain, place);
    out.trim_end().to_owned()
}

/// The fence that a code block or span needs: longer than any run of backticks inside.
pub(super) fn fence(code: &str, least: usize) -> String {
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(least.max(longest + 1))
}

struct Runs {
    out: String,
    place: Place,
    /// The last run ended with an emphasis marker; another one directly behind it would be misread.
    styled_end: bool,
}

impl Runs {
    fn push(&mut self, inline: &Inline, next: Option<char>, cite_text: CiteText<'_>) {
        let styled_before = std::mem::take(&mut self.styled_end);
        match inline {
            Inline::Text { text } => push_text(&mut self.out, text, self.place),
            Inline::Emphasis { text } => self.styled("*", text, styled_before, next),
            Inline::Strong { text } => self.styled("**", text, styled_before, next),
            Inline::Code { text } => self.code(text),
            Inline::Link { text, url } if is_web_address(url) => {
                let shown = if text.trim().is_empty() { url } else { text };
                self.out.push('[');
                push_text(&mut self.out, &shown.replace('\n', " "), self.place);
                self.out.push_str("](<");
                for c in url.chars().filter(|c| !c.is_control()) {
                    if matches!(c, '\\' | '<' | '>' | '&' | '|') {
                        self.out.push('\\');
                    }
                    self.out.push(c);
                }
                self.out.push_str(">)");
            }
            Inline::Link { text, url } => push_text(&mut self.out, &format!("{text} ({url})"), self.place),
            Inline::Cite { cite } => self.out.push_str(&cite_text(cite)),
        }
    }

    /// Emphasis, where the flanking rules of CommonMark (section 6.2) allow it, else plain text.
    fn styled(&mut self, marker: &str, text: &str, styled_before: bool, next: Option<char>) {
        let inner = text.trim();
        let (Some(first), Some(last)) = (inner.chars().next(), inner.chars().next_back()) else {
            return push_text(&mut self.out, text, self.place);
        };
        let start = text.len() - text.trim_start().len();
        let (lead, tail) = (&text[..start], &text[start + inner.len()..]);
        let before = if lead.is_empty() { self.out.chars().next_back() } else { Some(' ') };
        let after = if tail.is_empty() { next } else { Some(' ') };
        let opens = first.is_alphanumeric() || before.is_none_or(parts_words);
        let closes = last.is_alphanumeric() || after.is_none_or(parts_words);
        if !opens || !closes || (styled_before && lead.is_empty()) {
            return push_text(&mut self.out, text, self.place);
        }
        push_text(&mut self.out, lead, self.place);
        self.out.push_str(marker);
        push_text(&mut self.out, inner, self.place);
        self.out.push_str(marker);
        push_text(&mut self.out, tail, self.place);
        self.styled_end = tail.is_empty();
    }

    fn code(&mut self, code: &str) {
        let code = code.replace(['\n', '\r'], " ");
        if code.is_empty() {
            return;
        }
        let fence = fence(&code, 1);
        // The table reader takes the backslash away again, also inside code.
        let code = if self.place == Place::Line { code.replace('|', "\\|") } else { code };
        let blank = code.chars().all(|c| c == ' ');
        let edges = |c: char| code.starts_with(c) || code.ends_with(c);
        let pad = if !blank && (edges('`') || edges(' ')) { " " } else { "" };
        self.out.push_str(&format!("{fence}{pad}{code}{pad}{fence}"));
    }
}

fn first_char(inline: &Inline) -> Option<char> {
    match inline {
        Inline::Text { text } | Inline::Emphasis { text } | Inline::Strong { text } => text.chars().next(),
        Inline::Code { .. } => Some('`'),
        Inline::Link { .. } | Inline::Cite { .. } => Some('['),
    }
}

fn parts_words(c: char) -> bool {
    c.is_whitespace() || c.is_ascii_punctuation()
}

fn push_text(out: &mut String, text: &str, place: Place) {
    let blank = out.rsplit('\n').next().is_none_or(|line| line.trim_start_matches(' ').is_empty());
    let mut line_start = blank && place != Place::Line;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '\n' | '\r' => {
                if c == '\n' {
                    push_break(out, place);
                    line_start = place != Place::Line;
                }
            }
            ' ' | '\t' if line_start => {}
            _ => {
                if line_start {
                    rest = push_line_start(out, rest);
                    line_start = false;
                    continue;
                }
                if is_markup(c, after, place) {
                    out.push('\\');
                }
                out.push(c);
            }
        }
        rest = after;
    }
}

fn push_break(out: &mut String, place: Place) {
    out.truncate(out.trim_end_matches([' ', '\t']).len());
    match place {
        Place::Line => out.push(' '),
        // A break at the very start of a paragraph has nothing to break.
        Place::Flow { .. } if out.is_empty() || out.ends_with('\n') => {}
        Place::Flow { indent } => {
            out.push_str("\\\n");
            out.push_str(&" ".repeat(indent));
        }
    }
}

/// Writes the first character or number of a line so that it starts no block; gives what is left.
fn push_line_start<'a>(out: &mut String, rest: &'a str) -> &'a str {
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits > 0 {
        out.push_str(&rest[..digits]);
        let after = &rest[digits..];
        if after.starts_with(['.', ')']) {
            out.push('\\');
            out.push_str(&after[..1]);
            return &after[1..];
        }
        return after;
    }
    let c = rest.chars().next().expect("the caller saw a character");
    let after = &rest[c.len_utf8()..];
    if matches!(c, '#' | '+' | '-' | '=' | ':') || is_markup(c, after, Place::Flow { indent: 0 }) {
        out.push('\\');
    }
    out.push(c);
    after
}

fn is_markup(c: char, after: &str, place: Place) -> bool {
    match c {
        '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '~' | '|' | '$' => true,
        // Closing marks of a heading would be cut off.
        '#' => place == Place::Line,
        '&' => {
            let name = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '#');
            name.len() < after.len() && name.starts_with(';')
        }
        _ => false,
    }
}
