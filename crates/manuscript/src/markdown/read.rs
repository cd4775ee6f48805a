//! CommonMark with tables, strikethrough and footnotes, turned into blocks.
//!
//! A newline inside an inline's text is a line break. What the tree has no shape for is kept as text: raw
//! HTML stands literally, nested lists become lines of their item, footnotes become paragraphs.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::runs::{self, plain, trimmed, with_url};
use crate::book::is_web_address;
use crate::{Block, Inline};

/// Turns Markdown into blocks. Heading levels are renumbered from 1 without gaps; block quotes become
/// paragraphs, because Markdown cannot say where a quotation stands.
pub fn blocks_from_markdown(markdown: &str) -> Vec<Block> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    let mut reader = Reader::default();
    for event in Parser::new_ext(markdown, options) {
        reader.take(event);
    }
    reader.finish_paragraph();
    reader.blocks
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    /// The run being collected: of a paragraph, a heading, an item or a cell.
    inlines: Vec<Inline>,
    emphasis: usize,
    strong: usize,
    /// Open links and images, outermost first.
    links: Vec<OpenLink>,
    /// Open lists, outermost first: the number of the next item, if numbered.
    lists: Vec<Option<u64>>,
    /// Finished items of the outermost list, with their numbers.
    items: Vec<(Option<u64>, Vec<Inline>)>,
    item_number: Option<u64>,
    code: Option<String>,
    table: Option<OpenTable>,
    /// Source levels of the headings above the current place.
    headings: Vec<u8>,
}

struct OpenLink {
    url: String,
    text: String,
}

#[derive(Default)]
struct OpenTable {
    header: Vec<Vec<Inline>>,
    rows: Vec<Vec<Vec<Inline>>>,
    row: Vec<Vec<Inline>>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.text(&text),
            },
            Event::Code(text) => self.inline_code(&text),
            Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text) => self.text(&text),
            Event::FootnoteReference(label) => self.text(&format!("[{label}]")),
            Event::SoftBreak => self.text(" "),
            Event::HardBreak => self.text("\n"),
            // A ruler carries no text.
            Event::Rule => {}
            Event::TaskListMarker(done) => self.text(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.new_line_in_item(),
            Tag::Heading { .. } => {
                self.new_line_in_item();
                if self.in_list() {
                    self.strong += 1;
                }
            }
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                if !self.in_list() {
                    self.finish_paragraph();
                }
                self.code = Some(String::new());
            }
            Tag::List(first) => {
                if !self.in_list() {
                    self.finish_paragraph();
                }
                self.lists.push(first);
            }
            Tag::Item => self.start_item(),
            Tag::FootnoteDefinition(label) => {
                if self.in_list() {
                    self.new_line_in_item();
                } else {
                    self.finish_paragraph();
                }
                self.text(&format!("[{label}] "));
            }
            Tag::Table(_) => {
                if !self.in_list() {
                    self.finish_paragraph();
                }
                self.table = Some(OpenTable::default());
            }
            Tag::TableHead | Tag::TableRow => self.new_line_in_item(),
            Tag::Emphasis => self.emphasis += 1,
            Tag::Strong => self.strong += 1,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push(OpenLink { url: dest_url.into_string(), text: String::new() });
            }
            Tag::BlockQuote(_)
            | Tag::TableCell
            | Tag::Strikethrough
            | Tag::Superscript
            | Tag::Subscript
            | Tag::DefinitionList
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition
            | Tag::MetadataBlock(_) => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock | TagEnd::FootnoteDefinition => {
                if !self.in_list() {
                    self.finish_paragraph();
                }
            }
            TagEnd::Heading(level) => {
                if self.in_list() {
                    self.strong -= 1;
                } else {
                    self.finish_heading(level as u8);
                }
            }
            TagEnd::CodeBlock => self.finish_code(),
            TagEnd::Item => {
                if self.lists.len() == 1 {
                    let item = trimmed(std::mem::take(&mut self.inlines));
                    if !item.is_empty() {
                        self.items.push((self.item_number, item));
                    }
                }
            }
            TagEnd::List(_) => {
                self.lists.pop();
                if !self.in_list() {
                    self.finish_list();
                }
            }
            TagEnd::TableCell => self.finish_cell(),
            TagEnd::TableHead => {
                if let Some(table) = &mut self.table {
                    table.header = std::mem::take(&mut table.row);
                }
            }
            TagEnd::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(std::mem::take(&mut table.row));
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take().filter(|_| !self.in_list()) {
                    self.blocks.push(Block::Table { header: table.header, rows: table.rows });
                }
            }
            TagEnd::Emphasis => self.emphasis -= 1,
            TagEnd::Strong => self.strong -= 1,
            TagEnd::Link | TagEnd::Image => self.finish_link(),
            TagEnd::BlockQuote(_)
            | TagEnd::Strikethrough
            | TagEnd::Superscript
            | TagEnd::Subscript
            | TagEnd::DefinitionList
            | TagEnd::DefinitionListTitle
            | TagEnd::DefinitionListDefinition
            | TagEnd::MetadataBlock(_) => {}
        }
    }

    fn in_list(&self) -> bool {
        !self.lists.is_empty()
    }

    fn text(&mut self, text: &str) {
        if let Some(link) = self.links.last_mut() {
            link.text.push_str(text);
            return;
        }
        let text = text.to_owned();
        self.push(match (self.strong, self.emphasis) {
            (0, 0) => Inline::Text { text },
            (0, _) => Inline::Emphasis { text },
            _ => Inline::Strong { text },
        });
    }

    fn inline_code(&mut self, text: &str) {
        match self.links.last_mut() {
            Some(link) => link.text.push_str(text),
            None => self.push(Inline::Code { text: text.to_owned() }),
        }
    }

    fn push(&mut self, inline: Inline) {
        runs::push(&mut self.inlines, inline);
    }

    /// Inside an item, whose text is one run, a further block starts on a line of its own.
    fn new_line_in_item(&mut self) {
        if self.in_list() && !self.inlines.is_empty() && !self.ends_with_marker() {
            self.push(Inline::Text { text: "\n".to_owned() });
        }
    }

    fn ends_with_marker(&self) -> bool {
        matches!(self.inlines.last(), Some(Inline::Text { text }) if text.ends_with(NESTED_MARKER_END))
    }

    fn start_item(&mut self) {
        let depth = self.lists.len();
        let number = self.lists.last_mut().and_then(|next| {
            let number = *next;
            *next = next.map(|number| number.saturating_add(1));
            number
        });
        if depth <= 1 {
            self.item_number = number;
            return;
        }
        self.new_line_in_item();
        let indent = "– ".repeat(depth - 2);
        let marker = number.map_or_else(|| "–".to_owned(), |number| format!("{number}."));
        self.push(Inline::Text { text: format!("{indent}{marker}{NESTED_MARKER_END}") });
    }

    fn finish_link(&mut self) {
        let Some(OpenLink { url, text }) = self.links.pop() else {
            return;
        };
        let shown = if text.trim().is_empty() { url.clone() } else { text };
        if let Some(outer) = self.links.last_mut() {
            outer.text.push_str(&with_url(&shown, &url));
        } else if is_web_address(&url) {
            self.push(Inline::Link { text: shown, url });
        } else {
            self.text(&with_url(&shown, &url));
        }
    }

    fn finish_paragraph(&mut self) {
        let inlines = trimmed(std::mem::take(&mut self.inlines));
        if !inlines.is_empty() {
            self.blocks.push(Block::Paragraph { inlines, optional: None });
        }
    }

    fn finish_heading(&mut self, level: u8) {
        let text = plain(&trimmed(std::mem::take(&mut self.inlines)));
        if text.is_empty() {
            return;
        }
        while self.headings.last().is_some_and(|open| *open >= level) {
            self.headings.pop();
        }
        self.headings.push(level);
        let depth = u8::try_from(self.headings.len()).expect("Markdown has six heading levels");
        self.blocks.push(Block::Heading { level: depth, text });
    }

    fn finish_code(&mut self) {
        let mut code = self.code.take().unwrap_or_default();
        if code.ends_with('\n') {
            code.pop();
        }
        if !self.in_list() {
            self.blocks.push(Block::Code { text: code });
            return;
        }
        for line in code.lines().filter(|line| !line.trim().is_empty()) {
            self.new_line_in_item();
            self.inline_code(line);
        }
    }

    fn finish_list(&mut self) {
        let items = std::mem::take(&mut self.items);
        let Some((first, _)) = items.first() else { return };
        let ordered = first.is_some();
        if ordered && *first != Some(1) {
            // A list of blocks always counts from 1; other numbers are kept as text.
            for (number, inlines) in items {
                let marker = format!("{}. ", number.unwrap_or_default());
                let mut numbered = vec![Inline::Text { text: marker }];
                inlines.into_iter().for_each(|inline| runs::push(&mut numbered, inline));
                self.blocks.push(Block::Paragraph { inlines: numbered, optional: None });
            }
            return;
        }
        let items = items.into_iter().map(|(_, inlines)| inlines).collect();
        self.blocks.push(Block::List { ordered, items });
    }

    fn finish_cell(&mut self) {
        if self.in_list() {
            self.text("; ");
            return;
        }
        let cell = trimmed(std::mem::take(&mut self.inlines));
        if let Some(table) = &mut self.table {
            table.row.push(cell);
        }
    }
}

/// Ends the marker of a nested item: a no-break space, so that the marker stays with its text and is told
/// from a text that merely ends in a blank.
const NESTED_MARKER_END: char = '\u{a0}';

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Inline {
        Inline::Text { text: text.into() }
    }

    fn paragraph(inlines: Vec<Inline>) -> Block {
        Block::Paragraph { inlines, optional: None }
    }

    #[test]
    fn emphasis_code_and_links_become_runs_without_markers() {
        let blocks = blocks_from_markdown("a *b* **c** ***d*** `e*` [f *g*](https://h.example) ~~i~~\nj");
        let expected = paragraph(vec![
            text("a "),
            Inline::Emphasis { text: "b".into() },
            text(" "),
            Inline::Strong { text: "c".into() },
            text(" "),
            Inline::Strong { text: "d".into() },
            text(" "),
            Inline::Code { text: "e*".into() },
            text(" "),
            Inline::Link { text: "f g".into(), url: "https://h.example".into() },
            text(" i j"),
        ]);
        assert_eq!(blocks, [expected]);
    }

    #[test]
    fn headings_are_renumbered_from_one_without_gaps() {
        let blocks = blocks_from_markdown("## a\n#### b `c`\n## d\n\n#\n");
        let heading = |level, text: &str| Block::Heading { level, text: text.into() };
        assert_eq!(blocks, [heading(1, "a"), heading(2, "b c"), heading(1, "d")]);
    }

    #[test]
    fn nested_lists_become_lines_of_their_item_and_keep_the_outer_numbers() {
        let blocks = blocks_from_markdown("1. a\n   - b\n     1. c\n   - d\n2. e\n\n   f\n");
        let items = vec![vec![text("a\n–\u{a0}b\n– 1.\u{a0}c\n–\u{a0}d")], vec![text("e\nf")]];
        assert_eq!(blocks, [Block::List { ordered: true, items }]);
    }

    #[test]
    fn a_list_that_does_not_start_at_one_keeps_its_numbers_as_text() {
        let blocks = blocks_from_markdown("4. a\n5. *b*\n");
        let second = vec![text("5. "), Inline::Emphasis { text: "b".into() }];
        assert_eq!(blocks, [paragraph(vec![text("4. a")]), paragraph(second)]);
    }

    #[test]
    fn raw_html_stands_literally() {
        let blocks = blocks_from_markdown("<div>\n<b>x</b>\n</div>\n\na <br> b");
        assert_eq!(
            blocks,
            [paragraph(vec![text("<div>\n<b>x</b>\n</div>")]), paragraph(vec![text("a <br> b")])]
        );
    }

    #[test]
    fn quotes_code_and_tables_become_blocks() {
        let blocks =
            blocks_from_markdown("> a\n>\n> b\n\n```rust\nlet *x*;\n\n```\n\n|h|i|\n|-|-|\n|1|*2*|\n");
        let cells = vec![vec![text("1")], vec![Inline::Emphasis { text: "2".into() }]];
        let expected = [
            paragraph(vec![text("a")]),
            paragraph(vec![text("b")]),
            Block::Code { text: "let *x*;\n".into() },
            Block::Table { header: vec![vec![text("h")], vec![text("i")]], rows: vec![cells] },
        ];
        assert_eq!(blocks, expected);
    }

    #[test]
    fn blocks_inside_an_item_keep_every_word() {
        let blocks =
            blocks_from_markdown("- a\n\n  ```\n  x = 1\n  y\n  ```\n  > q\n\n  |h|\n  |-|\n  |c|\n");
        let [Block::List { items, .. }] = &blocks[..] else { panic!("{blocks:?}") };
        assert_eq!(plain(&items[0]), "a x = 1 y q h;  c;");
    }

    #[test]
    fn only_web_addresses_become_links_and_no_address_is_lost() {
        let blocks = blocks_from_markdown("[a](javascript:b) ![c](d.png) [](https://e.example)");
        let expected = vec![
            text("a (javascript:b) c (d.png) "),
            Inline::Link { text: "https://e.example".into(), url: "https://e.example".into() },
        ];
        assert_eq!(blocks, [paragraph(expected)]);
    }

    #[test]
    fn footnotes_become_paragraphs() {
        let blocks = blocks_from_markdown("a[^n]\n\n[^n]: b\n");
        assert_eq!(blocks, [paragraph(vec![text("a[n]")]), paragraph(vec![text("[n] b")])]);
    }

    #[test]
    fn deep_nesting_needs_no_deep_stack() {
        let markdown = format!("{}a", "> ".repeat(20_000));
        assert_eq!(blocks_from_markdown(&markdown).len(), 1);
    }
}
