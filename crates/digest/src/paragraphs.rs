//! From lines to headings, paragraphs and list items; listings, tables and footnotes fall out.

use std::collections::BTreeMap;

use crate::layout::Line;
use crate::lexicon;
use crate::verbatim::without_markdown;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 1 is the highest level; 9 marks a title-like line of unknown level.
    Heading(u8),
    Prose,
    Item,
}

/// A paragraph that stands on one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paragraph {
    /// Counted from 0.
    pub page: usize,
    pub kind: Kind,
    pub text: String,
    /// It goes on from the page before: its first sentence may be the rest of one.
    pub carried_over: bool,
}

pub const UNKNOWN_LEVEL: u8 = 9;

/// What a line with nothing but "Chapter" or "Chapter 3" announces.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    #[default]
    Nothing,
    Number,
    Title,
}

/// Lines longer than this are whole paragraphs (DOCX, unwrapped text), not lines of one.
const UNWRAPPED: usize = 200;
const HEADING_CHARACTERS: usize = 200;

/// Splits the pages of one source. `plain` says that the text may carry Markdown.
pub fn paragraphs(pages: &[Vec<Line>], plain: bool) -> Vec<Paragraph> {
    let vocabulary = Vocabulary::of(pages);
    let unwrapped = pages
        .iter()
        .flatten()
        .any(|line| matches!(line, Line::Text(text) if text.chars().count() > UNWRAPPED));
    let mut out: Vec<Paragraph> = Vec::new();
    for (page, lines) in pages.iter().enumerate() {
        let groups = groups(lines, plain, unwrapped);
        let groups = without_footnotes(groups);
        let mut awaited = Awaited::Nothing;
        for group in groups {
            let joined = vocabulary.join(&group.lines);
            if let Some(numbered) = lexicon::chapter_word(&joined) {
                awaited = if numbered { Awaited::Title } else { Awaited::Number };
                continue;
            }
            if awaited == Awaited::Number && joined.split_whitespace().count() == 1 {
                awaited = Awaited::Title;
                continue;
            }
            let chapter_title = std::mem::take(&mut awaited) != Awaited::Nothing
                && joined.chars().count() <= HEADING_CHARACTERS / 2;
            let joined = if chapter_title && !joined.chars().any(char::is_lowercase) {
                sentence_case(&joined)
            } else {
                joined
            };
            let heading =
                if chapter_title { Some((1, joined.clone())) } else { heading(&group, &joined, plain) };
            if let Some((level, text)) = heading {
                out.push(Paragraph { page, kind: Kind::Heading(level), text, carried_over: false });
                continue;
            }
            if group.is_listing() {
                continue;
            }
            let text = if plain { without_markdown(&joined) } else { joined };
            let kind = if group.item { Kind::Item } else { Kind::Prose };
            let previous = out.iter().rev().find(|before| !matches!(before.kind, Kind::Heading(_)));
            let first_of_page =
                !out.iter().rev().take_while(|before| before.page == page).any(|before| before.page == page);
            let carried_over =
                first_of_page && !group.item && previous.is_some_and(|before| !ends_sentence(&before.text));
            out.push(Paragraph { page, kind, text, carried_over });
        }
    }
    out
}

/// Whether `text` ends as a sentence does.
pub fn ends_sentence(text: &str) -> bool {
    let inner = text.trim_end_matches(['"', '”', '“', '’', '\'', '»', ')', ']', ' ']);
    inner.ends_with(['.', '!', '?', '…', '。', '！', '？'])
}

struct Group {
    lines: Vec<String>,
    item: bool,
    /// The number of the group's first line among the page's lines, as a share of them.
    place: f64,
}

impl Group {
    /// Program text, a table, or a column of short entries.
    fn is_listing(&self) -> bool {
        let code = self.lines.iter().filter(|line| is_code(line)).count();
        let long = self.lines.iter().filter(|line| line.chars().count() > 45).count();
        let ended = self.lines.iter().filter(|line| ends_sentence(line)).count();
        // Entries of a column each start anew; lines of prose go on in small letters.
        let reads_on = self
            .lines
            .iter()
            .skip(1)
            .filter(|line| line.chars().next().is_some_and(char::is_lowercase))
            .count();
        let column = self.lines.len() >= 4 && long * 4 < self.lines.len() && ended * 3 < self.lines.len();
        code * 3 >= self.lines.len() || column && reads_on * 2 < self.lines.len()
    }
}

fn groups(lines: &[Line], plain: bool, unwrapped: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    // `open`: the next line may continue the last group; `soft`: only if it reads as one sentence with it.
    let (mut open, mut soft, mut fenced) = (false, false, false);
    for (at, line) in lines.iter().enumerate() {
        let Line::Text(text) = line else {
            soft = open && *line == Line::Blank;
            open = soft;
            continue;
        };
        if plain && (text.starts_with("```") || text.starts_with("~~~")) {
            fenced = !fenced;
        }
        if fenced
            || is_code(text) && !(plain && text.starts_with('#'))
            || plain && (text.starts_with("```") || text.starts_with("~~~"))
        {
            (open, soft) = (false, false);
            continue;
        }
        let (item, body) = strip_bullet(text, plain);
        let place = at as f64 / lines.len() as f64;
        let starts_new = item
            || unwrapped
            || number_prefix(body).is_some_and(|(parts, _)| parts > 1)
            || plain && body.starts_with('#');
        let reads_on = body.chars().next().is_some_and(char::is_lowercase);
        match groups.last_mut().filter(|_| open && !starts_new) {
            Some(last)
                if !soft
                    || reads_on
                        && last
                            .lines
                            .last()
                            .is_some_and(|line| !ends_sentence(line) && !line.ends_with(':')) =>
            {
                last.lines.push(body.to_owned());
            }
            _ => groups.push(Group { lines: vec![body.to_owned()], item, place }),
        }
        open = !(plain && body.starts_with('#'));
        soft = false;
    }
    groups
}

/// Takes footnotes off a page's end: numbered paragraphs below its middle and all that follows them.
fn without_footnotes(mut groups: Vec<Group>) -> Vec<Group> {
    let first =
        groups.iter().position(|group| group.place > 0.4 && !group.item && is_footnote(&group.lines[0]));
    if let Some(first) = first {
        groups.truncate(first);
    }
    groups
}

fn is_footnote(line: &str) -> bool {
    let marker = line.chars().take_while(|c| c.is_numeric() || "*†‡".contains(*c)).count();
    let rest = line.chars().skip(marker).collect::<String>();
    let starts = rest.trim_start().chars().next().is_some_and(|c| c.is_uppercase() || c == '/');
    (1..=3).contains(&marker) && starts && line.chars().count() > 60
}

fn strip_bullet(text: &str, plain: bool) -> (bool, &str) {
    let mut characters = text.chars();
    let first = characters.next().unwrap_or(' ');
    let rest = characters.as_str();
    if "•▪‣◦●○■–".contains(first) || plain && "-*+".contains(first) && rest.starts_with(' ') {
        return (true, rest.trim_start());
    }
    // "3. Open the file" and "b) open the file"; headings with one number are told apart by their length.
    let digits = text.chars().take_while(|c| c.is_ascii_digit()).count();
    let letter = usize::from(digits == 0 && first.is_alphabetic());
    let marker = digits + letter * first.len_utf8();
    if (1..=2).contains(&digits) && text[marker..].starts_with(") ")
        || letter == 1 && text[marker..].starts_with(") ")
    {
        return (true, text[marker + 2..].trim_start());
    }
    (false, text)
}

/// Whether a line belongs to a listing, a command or a drawing.
fn is_code(line: &str) -> bool {
    const SIGNS: &[&str] =
        &["←", "↩", "-----", "=====", "::=", "&&", "||", "();", "};", "</", "/>", "b’’", "+->", " \\ "];
    const OPENINGS: &[&str] =
        &["$ ", "% ", "> ", "#!", "# apt", "deb http", "deb-src", "|", "//", "/*", "<?"];
    if SIGNS.iter().any(|sign| line.contains(sign))
        || OPENINGS.iter().any(|opening| line.starts_with(opening))
    {
        return true;
    }
    if line.ends_with('\\') || line.ends_with('{') || line.ends_with(';') && !line.contains(' ') {
        return true;
    }
    let visible = line.chars().filter(|c| !c.is_whitespace()).count();
    let signs = line.chars().filter(|c| "{}<>|=$#;\\_/~^+*@[]".contains(*c)).count();
    let words = line.split_whitespace().count();
    visible > 0 && (signs * 4 > visible || words <= 3 && signs * 8 > visible && !ends_sentence(line))
}

/// How many numbers stand before a heading ("2.3 Title": 2) and what follows them.
fn number_prefix(text: &str) -> Option<(usize, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(end);
    let parts: Vec<&str> = number.trim_end_matches('.').split('.').collect();
    let sound = parts.iter().all(|part| (1..=3).contains(&part.len()));
    let title = rest.trim_start();
    let starts = title.chars().next().is_some_and(|c| c.is_uppercase() || "\"“„«'‘(`".contains(c));
    (sound && rest.starts_with(char::is_whitespace) && starts).then_some((parts.len(), title))
}

fn heading(group: &Group, joined: &str, plain: bool) -> Option<(u8, String)> {
    if plain && joined.starts_with('#') {
        let level = joined.chars().take_while(|c| *c == '#').count();
        let title = without_markdown(joined.trim_matches(['#', ' ']));
        let title = number_prefix(&title).map_or(title.as_str(), |(_, rest)| rest).to_owned();
        return (!title.is_empty()).then_some((level.min(6) as u8, title));
    }
    let length = joined.chars().count();
    let letters = joined.chars().filter(|c| c.is_alphabetic()).count();
    if group.item || group.lines.len() > 3 || length > HEADING_CHARACTERS || letters * 2 < length {
        return None;
    }
    let words = joined.split_whitespace().count();
    let closed = joined.ends_with(['.', '!', ',', ';', ':', '…']);
    if let Some((parts, title)) = number_prefix(joined) {
        // A title fills its last line as little as a sentence's end does: only the missing dot tells.
        let sound = parts > 1 || group.lines.len() == 1 && words <= 12;
        return (sound && !closed).then(|| (parts.min(6) as u8, title.to_owned()));
    }
    let capital = joined.chars().next().is_some_and(char::is_uppercase);
    if closed || joined.ends_with('?') || !capital || group.lines.len() > 1 || is_code(joined) {
        return None;
    }
    if letters > 4 && words <= 8 && group.place < 0.3 && joined.chars().all(|c| !c.is_lowercase()) {
        return Some((1, sentence_case(joined)));
    }
    (2..=10).contains(&words).then(|| (UNKNOWN_LEVEL, joined.to_owned())).filter(|_| length <= 80)
}

/// "SOURCE PACKAGES" as "Source packages".
fn sentence_case(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().into_iter().collect();
    first + &characters.as_str().to_lowercase()
}

/// The words of a source, to decide whether a hyphen at a line's end is part of the word.
struct Vocabulary(BTreeMap<String, u32>);

impl Vocabulary {
    fn of(pages: &[Vec<Line>]) -> Self {
        let mut words: BTreeMap<String, u32> = BTreeMap::new();
        for line in pages.iter().flatten() {
            let Line::Text(text) = line else { continue };
            for word in text.split_whitespace() {
                *words.entry(bare(word)).or_default() += 1;
            }
        }
        Self(words)
    }

    fn join(&self, lines: &[String]) -> String {
        let mut out = String::new();
        for line in lines {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            if out.is_empty() {
                out = line;
                continue;
            }
            let left = out.rsplit(' ').next().unwrap_or_default().to_owned();
            let right = line.split(' ').next().unwrap_or_default();
            match Seam::between(&left, right) {
                Seam::Space => out.push(' '),
                Seam::None => {}
                Seam::Drop => drop(out.pop()),
                Seam::Hyphen if self.keeps_hyphen(&left, right) => {}
                Seam::Hyphen => drop(out.pop()),
            }
            out.push_str(&line);
        }
        out.replace(['\u{ad}', '\u{200b}'], "")
    }

    fn keeps_hyphen(&self, left: &str, right: &str) -> bool {
        const KEPT_BEFORE: &[&str] = &["non", "self", "ex", "well", "кое", "из"];
        const KEPT_AFTER: &[&str] = &["то", "либо", "нибудь", "таки", "за", "під"];
        let stem = bare(left.trim_end_matches(['-', '\u{2010}', '\u{ad}']));
        let right = bare(right);
        let count = |word: String| self.0.get(&word).copied().unwrap_or_default();
        let (with, without) = (count(format!("{stem}-{right}")), count(format!("{stem}{right}")));
        if left.ends_with('\u{ad}') || with == 0 && without > 0 {
            return false;
        }
        with > without || KEPT_BEFORE.contains(&stem.as_str()) || KEPT_AFTER.contains(&right.as_str())
    }
}

fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// What stands between the last word of a line and the first of the next.
enum Seam {
    Space,
    None,
    /// A hyphen that is no part of a word.
    Drop,
    /// A hyphen that may be part of the word.
    Hyphen,
}

impl Seam {
    fn between(left: &str, right: &str) -> Self {
        let next = right.chars().next().unwrap_or(' ');
        if is_divided_name(left, right, next) {
            return Self::None;
        }
        let Some(stem) = left.strip_suffix(['-', '\u{2010}', '\u{ad}']) else {
            return Self::Space;
        };
        match stem.chars().next_back() {
            Some('/') => Self::Drop,
            Some(_) if ",;".contains(next) => Self::None,
            Some('»' | '«' | '“' | '”' | '"' | ')') if next.is_alphanumeric() => Self::None,
            Some(last) if last.is_alphabetic() && next.is_lowercase() => Self::Hyphen,
            // "Linux-" + "Kernel": a compound keeps its hyphen.
            Some(last) if last.is_alphanumeric() && next.is_alphanumeric() => Self::None,
            _ => Self::Space,
        }
    }
}

/// A path, an address or a file's name that a line's end divides.
fn is_divided_name(left: &str, right: &str, next: char) -> bool {
    let address = left.contains("://") || left.starts_with('/') && left.len() > 1 || left.starts_with("www.");
    // A path's hyphen may be the line's own; an address is never hyphenated.
    if address && (left.ends_with(['/', '_', '=', '.']) || left.contains("://") && left.ends_with('-')) {
        return next.is_alphanumeric() && !next.is_uppercase() || next == '/';
    }
    if let Some(stem) = left.strip_suffix('/') {
        return stem.ends_with(char::is_alphanumeric) && next.is_alphanumeric();
    }
    let Some(last) = left.strip_suffix('.').and_then(|stem| stem.chars().next_back()) else {
        return false;
    };
    let name = right.trim_end_matches(|c: char| !c.is_alphanumeric());
    // "orig." + "tar.gz", "gentoo-0.9." + "12-rc"; not "the year 1901." + "12 ships".
    let suffix = last.is_ascii_alphanumeric() && next.is_lowercase() && name.contains('.');
    let version = last.is_ascii_digit() && next.is_ascii_digit() && left.contains(char::is_alphabetic);
    suffix || version
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::running_text;

    fn split(text: &str, plain: bool) -> Vec<(Kind, String)> {
        let pages = running_text(&[text.to_owned()]);
        paragraphs(&pages, plain).into_iter().map(|paragraph| (paragraph.kind, paragraph.text)).collect()
    }

    #[test]
    fn hyphenated_line_ends_are_joined_and_compounds_keep_theirs() {
        let text = "The manage-\nment of full-upgrade runs in Linux-\nKernel terms, so a full-\nupgrade is long enough.";
        assert_eq!(
            split(text, false)[0].1,
            "The management of full-upgrade runs in Linux-Kernel terms, so a full-upgrade is long enough."
        );
    }

    #[test]
    fn divided_names_are_whole_again() {
        let text = "The maker puts gentoo-0.9.\n12-rc into the debian/\nrules folder beside the file orig.\ntar.gz of last year.";
        let found = split(text, false);
        assert!(
            found[0].1.contains("gentoo-0.9.12-rc into the debian/rules folder beside the file orig.tar.gz"),
            "{found:?}"
        );
    }

    #[test]
    fn headings_listings_items_and_footnotes_are_told_apart() {
        let text = "2.3 Where the tide turns\n\nThe tide turns at noon on most days of the year.\n\n$ tide --turn now\n\n\
                    • The first item of the list stands here.\n\n7 Debconf or another tool that implements the specification will be installed.";
        let found = split(text, false);
        assert_eq!(found[0], (Kind::Heading(2), "Where the tide turns".to_owned()));
        assert_eq!(found[1].0, Kind::Prose);
        assert_eq!(found[2].0, Kind::Item);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn markdown_headings_and_fences_are_understood() {
        let text = "# Tides\n\nThe **tide** turns at noon.\n\n```\nlet tide = noon;\n```\n\n## The moon\nIt pulls the sea.";
        let found = split(text, true);
        let expected = [
            (Kind::Heading(1), "Tides"),
            (Kind::Prose, "The tide turns at noon."),
            (Kind::Heading(2), "The moon"),
            (Kind::Prose, "It pulls the sea."),
        ];
        assert_eq!(found, expected.map(|(kind, text)| (kind, text.to_owned())));
    }
}
