//! Small operations on runs of text.

use crate::Inline;

/// Appends a run, joined to the last one if they look the same.
pub(super) fn push(inlines: &mut Vec<Inline>, inline: Inline) {
    match (inlines.last_mut(), &inline) {
        (Some(Inline::Text { text: last }), Inline::Text { text })
        | (Some(Inline::Emphasis { text: last }), Inline::Emphasis { text })
        | (Some(Inline::Strong { text: last }), Inline::Strong { text }) => last.push_str(text),
        _ => inlines.push(inline),
    }
}

/// The text of a link with its address, where the address says more.
pub(super) fn with_url(text: &str, url: &str) -> String {
    if url.is_empty() || text == url { text.to_owned() } else { format!("{text} ({url})") }
}

/// The text alone, on one line.
pub(super) fn plain(inlines: &[Inline]) -> String {
    let parts = inlines.iter().map(|inline| match inline {
        Inline::Text { text }
        | Inline::Emphasis { text }
        | Inline::Strong { text }
        | Inline::Code { text } => text.replace('\n', " "),
        Inline::Link { text, url } => with_url(text, url),
        Inline::Cite { .. } => String::new(),
    });
    parts.collect::<String>().trim().to_owned()
}

/// Without blank runs at the ends and without blanks at the ends of the outer text runs.
pub(super) fn trimmed(mut inlines: Vec<Inline>) -> Vec<Inline> {
    fn text_of(inline: &mut Inline) -> Option<&mut String> {
        match inline {
            Inline::Text { text } | Inline::Emphasis { text } | Inline::Strong { text } => Some(text),
            Inline::Code { .. } | Inline::Link { .. } | Inline::Cite { .. } => None,
        }
    }
    while let Some(text) = inlines.first_mut().and_then(text_of) {
        *text = text.trim_start_matches([' ', '\n', '\t']).to_owned();
        if !text.is_empty() {
            break;
        }
        inlines.remove(0);
    }
    while let Some(text) = inlines.last_mut().and_then(text_of) {
        text.truncate(text.trim_end_matches([' ', '\n', '\t']).len());
        if !text.is_empty() {
            break;
        }
        inlines.pop();
    }
    inlines
}
