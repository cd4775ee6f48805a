//! Finds characters that no bundled font can show. Typst draws an empty box for them and says nothing.

use typst::layout::{Frame, FrameItem};
use typst::text::TextItem;
use typst_layout::PagedDocument;

/// A character without a glyph, and the line of text around it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub character: char,
    pub near: String,
}

/// The first missing character of the document, in page order.
pub(crate) fn first_missing(document: &PagedDocument) -> Option<Missing> {
    document.pages().iter().find_map(|page| in_frame(&page.frame))
}

fn in_frame(frame: &Frame) -> Option<Missing> {
    frame.items().find_map(|(_, item)| match item {
        FrameItem::Group(group) => in_frame(&group.frame),
        FrameItem::Text(text) => in_text(text),
        FrameItem::Shape(..) | FrameItem::Image(..) | FrameItem::Link(..) | FrameItem::Tag(_) => None,
    })
}

fn in_text(text: &TextItem) -> Option<Missing> {
    const CONTEXT: usize = 20;
    let glyph = text.glyphs.iter().find(|glyph| glyph.id == 0)?;
    let range = glyph.range();
    let cluster = &text.text[range.clone()];
    // A cluster can hold a covered base character before the uncovered mark.
    let uncovered = |c: &char| text.font.ttf().glyph_index(*c).is_none();
    let character = cluster.chars().find(uncovered).or_else(|| cluster.chars().next())?;
    let before: Vec<char> = text.text[..range.start].chars().rev().take(CONTEXT).collect();
    let after = text.text[range.start..].chars().take(CONTEXT);
    Some(Missing { character, near: before.into_iter().rev().chain(after).collect() })
}
