//! Turns the body of a DOCX file into Markdown.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::styles::{Headings, attribute, outline_level};
use crate::reader::Refusal;

/// Elements whose content is not shown, or is shown a second time elsewhere.
const HIDDEN: [&str; 6] = ["del", "moveFrom", "Fallback", "instrText", "delText", "sdtPr"];
/// Deeper nesting than any real document has.
const MAX_DEPTH: usize = 512;
/// Markdown has six levels of headings.
const MAX_HEADING: u8 = 6;

#[derive(Debug, Default)]
struct Paragraph {
    text: String,
    style: Option<String>,
    outline: Option<u8>,
    /// Nesting of the list it is an item of.
    list: Option<usize>,
}

#[derive(Debug, Default)]
struct Table {
    rows: Vec<String>,
    row: Vec<String>,
    cell: Vec<String>,
}

#[derive(Default)]
struct Body {
    blocks: Vec<String>,
    /// Text boxes put paragraphs inside paragraphs.
    paragraphs: Vec<Paragraph>,
    tables: Vec<Table>,
    /// Depth of elements inside a hidden one.
    hidden: usize,
    in_text: bool,
}

/// # Errors
/// The XML is not well-formed, or nested beyond reason.
pub(super) fn markdown(xml: &str, headings: &Headings) -> Result<String, Refusal> {
    let mut body = Body::default();
    let mut depth = 0_usize;
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().map_err(|_| Refusal::DamagedDocx)? {
            Event::Start(start) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Refusal::DamagedDocx);
                }
                body.open(&start);
            }
            Event::Empty(empty) => {
                body.open(&empty);
                body.close(empty.local_name().as_ref(), headings);
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                body.close(end.local_name().as_ref(), headings);
            }
            Event::Text(text) => body.text(&text.xml10_content()),
            Event::CData(text) => body.text(&text.xml10_content()),
            Event::GeneralRef(reference) => body.text(&resolve(&reference)?),
            Event::Eof if depth == 0 => break,
            Event::Eof => return Err(Refusal::DamagedDocx),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    Ok(body.finish())
}

impl Body {
    fn open(&mut self, element: &BytesStart<'_>) {
        let name = element.local_name();
        if self.hidden > 0 || HIDDEN.contains(&name.as_ref()) {
            self.hidden += 1;
            return;
        }
        match name.as_ref() {
            "p" => self.paragraphs.push(Paragraph::default()),
            "tbl" => self.tables.push(Table::default()),
            "t" => self.in_text = true,
            "tab" if !self.in_properties() => self.push(" "),
            "br" | "cr" => self.push("\n"),
            "noBreakHyphen" => self.push("-"),
            "pStyle" => self.with_paragraph(|paragraph| paragraph.style = attribute(element, "val")),
            "outlineLvl" => self.with_paragraph(|paragraph| paragraph.outline = outline_level(element)),
            "numPr" => self.with_paragraph(|paragraph| paragraph.list = Some(0)),
            "ilvl" => {
                let level = attribute(element, "val").and_then(|level| level.parse().ok()).unwrap_or(0);
                self.with_paragraph(|paragraph| paragraph.list = Some(level));
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &str, headings: &Headings) {
        if self.hidden > 0 {
            self.hidden -= 1;
            return;
        }
        match name {
            "t" => self.in_text = false,
            "p" => {
                if let Some(paragraph) = self.paragraphs.pop() {
                    self.put(paragraph, headings);
                }
            }
            "tc" => {
                if let Some(table) = self.tables.last_mut() {
                    let cell = std::mem::take(&mut table.cell);
                    table.row.push(cell.join(" "));
                }
            }
            "tr" => {
                if let Some(table) = self.tables.last_mut() {
                    let row = std::mem::take(&mut table.row);
                    if row.iter().any(|cell| !cell.is_empty()) {
                        table.rows.push(row.join(" | "));
                    }
                }
            }
            "tbl" => {
                if let Some(table) = self.tables.pop() {
                    self.put_block(table.rows.join("\n"));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.hidden == 0 && self.in_text {
            self.push(text);
        }
    }

    fn push(&mut self, text: &str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(text);
        }
    }

    /// Tab stops in a paragraph's properties have the same name as the tab in its text, and come before it.
    fn in_properties(&self) -> bool {
        self.paragraphs.last().is_none_or(|paragraph| paragraph.text.is_empty())
    }

    fn with_paragraph(&mut self, change: impl FnOnce(&mut Paragraph)) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            change(paragraph);
        }
    }

    fn put(&mut self, paragraph: Paragraph, headings: &Headings) {
        let text = paragraph.text.trim();
        if text.is_empty() {
            return;
        }
        if self.tables.last().is_some() {
            return self.put_block(text.replace('\n', " "));
        }
        let by_style = || headings.level(paragraph.style.as_deref()?);
        let block = match (paragraph.outline.or_else(by_style), paragraph.list) {
            (Some(level), _) => {
                let marks = "#".repeat(level.min(MAX_HEADING).into());
                format!("{marks} {}", text.replace('\n', " "))
            }
            (None, Some(level)) => format!("{}- {}", "  ".repeat(level.min(8)), text.replace('\n', " ")),
            (None, None) => text.to_owned(),
        };
        self.put_block(block);
    }

    /// Into the cell that is open, else into the document.
    fn put_block(&mut self, block: String) {
        match self.tables.last_mut() {
            Some(table) => table.cell.push(block.replace('\n', " ")),
            None => self.blocks.push(block),
        }
    }

    fn finish(self) -> String {
        let mut text = String::new();
        let mut in_list = false;
        for block in self.blocks.iter().filter(|block| !block.is_empty()) {
            let item = block.trim_start().starts_with("- ");
            if !text.is_empty() {
                text.push_str(if item && in_list { "\n" } else { "\n\n" });
            }
            text.push_str(block);
            in_list = item;
        }
        text
    }
}

/// A character reference, or one of the five entities of XML. Others would need a document type, which a
/// DOCX file does not have.
fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, Refusal> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| Refusal::DamagedDocx)? {
        return Ok(character.to_string());
    }
    let text = match reference.xml10_content().as_ref() {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => return Err(Refusal::DamagedDocx),
    };
    Ok(text.to_owned())
}
