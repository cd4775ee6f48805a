//! Turns a model's citation markers into citations, and finds those that point nowhere.
//!
//! A marker is `[S1 p. 3]` or `[S2]`: a source's number in the prompt, counted from 1, and its page. Models vary
//! them, so that `[S1, p.3]`, `[S1 pp. 3-4]` and `[S1 p. 3; S2 p. 5]` are read too.

use quire_manuscript::{Block, Cite, Inline};

use crate::peers::SourceText;

/// Blocks whose markers are citations, and the markers that were taken out because they name no page that exists.
#[derive(Debug, PartialEq)]
pub struct Resolved {
    pub blocks: Vec<Block>,
    pub unknown: Vec<String>,
}

/// Resolves every marker in running text; code stays as it is.
pub fn resolve(blocks: Vec<Block>, sources: &[SourceText]) -> Resolved {
    let mut resolver = Resolver { sources, unknown: Vec::new() };
    let blocks = blocks.into_iter().map(|block| resolver.block(block)).collect();
    Resolved { blocks, unknown: resolver.unknown }
}

struct Resolver<'a> {
    sources: &'a [SourceText],
    unknown: Vec<String>,
}

impl Resolver<'_> {
    fn block(&mut self, block: Block) -> Block {
        match block {
            Block::Paragraph { inlines, optional } => {
                Block::Paragraph { inlines: self.inlines(inlines), optional }
            }
            Block::List { ordered, items } => {
                Block::List { ordered, items: items.into_iter().map(|item| self.inlines(item)).collect() }
            }
            Block::Table { header, rows } => Block::Table {
                header: header.into_iter().map(|cell| self.inlines(cell)).collect(),
                rows: rows
                    .into_iter()
                    .map(|row| row.into_iter().map(|cell| self.inlines(cell)).collect())
                    .collect(),
            },
            Block::Heading { level, text } => {
                // A heading cannot carry a citation; its markers only go.
                let (level, text) = (level, self.inlines(vec![Inline::Text { text }]));
                let text = text.into_iter().filter_map(|inline| match inline {
                    Inline::Text { text } => Some(text),
                    _ => None,
                });
                Block::Heading { level, text: text.collect::<String>().trim().to_owned() }
            }
            other @ (Block::Quote { .. } | Block::Code { .. }) => other,
        }
    }

    fn inlines(&mut self, inlines: Vec<Inline>) -> Vec<Inline> {
        let mut out = Vec::with_capacity(inlines.len());
        for inline in inlines {
            match inline {
                Inline::Text { text } => self.split(text, &mut out, |text| Inline::Text { text }),
                Inline::Emphasis { text } => self.split(text, &mut out, |text| Inline::Emphasis { text }),
                Inline::Strong { text } => self.split(text, &mut out, |text| Inline::Strong { text }),
                other => out.push(other),
            }
        }
        out
    }

    fn split(&mut self, text: String, out: &mut Vec<Inline>, wrap: impl Fn(String) -> Inline) {
        let mut rest = text.as_str();
        let mut plain = String::new();
        while let Some((before, inside, after)) = next_marker(rest) {
            plain.push_str(before);
            let cites = self.cites(inside);
            match cites {
                Some(cites) => {
                    if !plain.is_empty() {
                        out.push(wrap(std::mem::take(&mut plain)));
                    }
                    out.extend(cites.into_iter().map(|cite| Inline::Cite { cite }));
                }
                None => {
                    self.unknown.push(format!("[{inside}]"));
                    plain.truncate(plain.trim_end_matches(' ').len());
                }
            }
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            out.push(wrap(plain));
        }
    }

    fn cites(&self, inside: &str) -> Option<Vec<Cite>> {
        inside.split(';').map(|part| self.cite(part)).collect()
    }

    fn cite(&self, part: &str) -> Option<Cite> {
        let mut numbers =
            part.split(|character: char| !character.is_ascii_digit()).filter(|run| !run.is_empty());
        let named = part.trim_start().starts_with(['S', 's']);
        let number: usize = numbers.next().filter(|_| named)?.parse().ok()?;
        let page: Option<usize> = numbers.next().map(|page| page.parse()).transpose().ok()?;
        let source = self.sources.get(number.checked_sub(1)?)?;
        let page = match page {
            Some(page) if source.paged => {
                (1..=source.pages.len()).contains(&page).then_some(())?;
                Some(u32::try_from(page).ok()?)
            }
            _ => None,
        };
        Some(Cite { source: source.id.clone(), page })
    }
}

/// What stands before the next marker, in it and after it.
fn next_marker(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('[').map(|at| from + at) {
        let inside = &text[open + 1..];
        let mut characters = inside.trim_start().chars();
        let begins = matches!(characters.next(), Some('S' | 's'))
            && characters.next().is_some_and(|character| character.is_ascii_digit());
        match inside.find([']', '[']) {
            Some(close) if begins && inside[close..].starts_with(']') => {
                return Some((&text[..open], &inside[..close], &inside[close + 1..]));
            }
            _ => from = open + 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<SourceText> {
        let source = |id: &str, pages: usize, paged| SourceText {
            id: id.to_owned(),
            file_name: format!("{id}.pdf"),
            pages: vec![String::new(); pages],
            paged,
        };
        vec![source("a", 4, true), source("b", 1, false)]
    }

    fn resolved(text: &str) -> (Vec<Inline>, Vec<String>) {
        let block =
            Block::Paragraph { inlines: vec![Inline::Text { text: text.to_owned() }], optional: None };
        let resolved = resolve(vec![block], &sources());
        match resolved.blocks.into_iter().next() {
            Some(Block::Paragraph { inlines, .. }) => (inlines, resolved.unknown),
            other => panic!("{other:?}"),
        }
    }

    fn cite(source: &str, page: Option<u32>) -> Inline {
        Inline::Cite { cite: Cite { source: source.to_owned(), page } }
    }

    #[test]
    fn markers_in_all_their_spellings_become_citations() {
        for marker in ["[S1 p. 3]", "[S1, p.3]", "[S1 pp. 3-4]", "[ s1\np. 3 ]", "[S1 S. 3]"] {
            let (inlines, unknown) = resolved(&format!("True {marker}."));
            assert_eq!(inlines[1], cite("a", Some(3)), "{marker}");
            assert_eq!(unknown, Vec::<String>::new());
        }
        assert_eq!(resolved("[S1 p. 3; S2 p. 9]").0, [cite("a", Some(3)), cite("b", None)]);
    }

    #[test]
    fn markers_that_point_nowhere_are_taken_out_and_reported() {
        let (inlines, unknown) = resolved("One [S1 p. 5]. Two [S3]. Three [S0 p. 1].");
        assert_eq!(inlines, [Inline::Text { text: "One. Two. Three.".to_owned() }]);
        assert_eq!(unknown, ["[S1 p. 5]", "[S3]", "[S0 p. 1]"]);
    }

    #[test]
    fn other_brackets_stay() {
        let text = "an [aside], [Sic], [s], a [[S";
        assert_eq!(resolved(text), (vec![Inline::Text { text: text.to_owned() }], Vec::new()));
    }
}
