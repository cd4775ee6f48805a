//! The writer that asks a language model at any OpenAI-compatible endpoint.

mod citations;
mod client;
mod outline;
mod passages;
mod prompt;
mod sse;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use quire_manuscript::{Block, Inline, Reference, blocks_from_markdown};
use serde_json::Value;

pub use client::ModelSettings;
use client::{Message, Model};
use passages::Passages;

use crate::writer::{Draft, Order, Pen, Plan, Sink, Task, WriteError, Writer, Written};

/// Passages shown for the outline.
const OUTLINE_PASSAGES: usize = 24;
/// Passages shown for a section.
const SECTION_PASSAGES: usize = 12;
/// Characters of a section that later ones are told.
const SUMMARY_CHARACTERS: usize = 300;
/// A repeated seam after a cut is at least this long; shorter ones are chance.
const SEAM: usize = 12;

/// Writes with one model.
pub struct OpenAiWriter {
    model: Model,
}

impl OpenAiWriter {
    /// # Errors
    /// The TLS provider cannot be used.
    pub fn new(settings: ModelSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { model: Model::new(settings)? })
    }
}

#[async_trait]
impl Writer for OpenAiWriter {
    async fn open(&self, task: Arc<Task>) -> Result<Box<dyn Pen>, WriteError> {
        let passages = Passages::build(&task.sources);
        Ok(Box::new(OpenAiPen { model: self.model.clone(), task, passages }))
    }
}

struct OpenAiPen {
    model: Model,
    task: Arc<Task>,
    passages: Passages,
}

#[async_trait]
impl Pen for OpenAiPen {
    async fn plan(&self, mut kept: Draft, sink: &Sink) -> Result<Plan, WriteError> {
        let query = format!("{} {} {}", self.task.title, self.task.topic, self.task.chapter_titles.join(" "));
        let passages = self.passages.find(&query, OUTLINE_PASSAGES);
        let mut messages = prompt::outline(&self.task, &passages);
        let (_, max_sections) = prompt::section_counts(self.task.pages);
        for attempt in 0..2 {
            let answer = self.answer(attempt, &messages, &mut kept, sink).await?;
            match outline::parse(&answer, &self.task.chapter_titles, max_sections) {
                Ok(chapters) => {
                    return Ok(Plan { chapters, state: Value::Null, usage: kept.usage });
                }
                Err(error) => {
                    tracing::warn!(%error, "the model's outline cannot be used");
                    messages.push(Message::assistant(answer));
                    messages.push(prompt::mend_outline(&error.to_string()));
                }
            }
        }
        Err(WriteError::failed("no_outline", "the language model did not give an outline that can be used"))
    }

    async fn write(&self, order: Order<'_>, mut kept: Draft, sink: &Sink) -> Result<Written, WriteError> {
        let place = order.plan.sections().find(|(_, section)| section.key == order.key);
        let (chapter, section) =
            place.ok_or_else(|| WriteError::failed("poison", "the stored plan has no such section"))?;
        let title = section.title.as_deref().unwrap_or(&chapter.title);
        let passages =
            self.passages.find(&format!("{title} {} {}", chapter.title, self.task.title), SECTION_PASSAGES);
        let mut messages = prompt::section(&self.task, &order, (chapter, section), &passages);
        for attempt in 0.. {
            if attempt > 0 {
                sink.restart().await?;
            }
            let answer = self.answer(attempt, &messages, &mut kept, sink).await?;
            let mut blocks = blocks_from_markdown(&whole_sentences(&answer));
            drop_own_title(&mut blocks, title);
            let resolved = citations::resolve(blocks, &self.task.sources);
            if resolved.unknown.is_empty() || attempt > 0 {
                if resolved.blocks.is_empty() {
                    return Err(WriteError::failed(
                        "no_text",
                        "the language model wrote no text for a section",
                    ));
                }
                let summary = summary(&resolved.blocks);
                let (key, writer) = (order.key.to_owned(), self.model.name().to_owned());
                return Ok(Written { key, blocks: resolved.blocks, writer, summary, usage: kept.usage });
            }
            tracing::info!(
                key = order.key,
                markers = resolved.unknown.len(),
                "citations point nowhere; asking again"
            );
            messages.push(Message::assistant(answer));
            messages.push(prompt::mend_markers(&resolved.unknown));
        }
        unreachable!("the second try is always accepted or refused")
    }

    fn references(&self, _plan: &Plan, sections: &[Written]) -> Vec<Reference> {
        let mut seen = HashSet::new();
        let cites = sections.iter().flat_map(|section| &section.blocks).flat_map(Block::cites);
        let first = cites.filter(|cite| seen.insert(cite.source.clone()));
        let sources =
            first.filter_map(|cite| self.task.sources.iter().find(|source| source.id == cite.source));
        sources.map(|source| Reference { id: source.id.clone(), text: source.file_name.clone() }).collect()
    }

    fn disclosure(&self) -> String {
        let model = self.model.name();
        match self.task.language.as_str() {
            "de" => format!("Dieser Text wurde von einem Sprachmodell geschrieben ({model})."),
            "fr" => format!("Ce texte a été écrit par un modèle de langage ({model})."),
            "it" => format!("Questo testo è stato scritto da un modello linguistico ({model})."),
            "es" => format!("Este texto fue escrito por un modelo de lenguaje ({model})."),
            "ru" => format!("Этот текст написан языковой моделью ({model})."),
            "uk" => format!("Цей текст написано мовною моделлю ({model})."),
            _ => format!("This text was written by a language model ({model})."),
        }
    }
}

impl OpenAiPen {
    /// The answer of try `attempt`: the one that was kept, or the model's, which is kept before it is used; of an
    /// answer that was cut, also its first part by itself.
    async fn answer(
        &self,
        attempt: usize,
        messages: &[Message],
        kept: &mut Draft,
        sink: &Sink,
    ) -> Result<String, WriteError> {
        if let Some(answer) = kept.answers.get(attempt) {
            // Followers of a section that starts again need its text again.
            sink.text(answer.clone()).await?;
            return Ok(answer.clone());
        }
        let (mut text, cut) = match kept.partial.clone() {
            Some(partial) => {
                sink.text(partial.clone()).await?;
                (partial, true)
            }
            None => {
                let answer = self.model.ask(messages, sink).await?;
                kept.usage += answer.usage;
                let cut = answer.cut || !ends_whole(&answer.text);
                if cut {
                    // It is paid for: whatever becomes of the rest, it is not asked for again.
                    kept.partial = Some(answer.text.clone());
                    sink.keep(kept).await?;
                }
                (answer.text, cut)
            }
        };
        if cut {
            let mut longer = messages.to_vec();
            longer.push(Message::assistant(text.clone()));
            longer.push(prompt::go_on());
            let rest = self.model.ask(&longer, sink).await?;
            kept.usage += rest.usage;
            text.push_str(&rest.text[seam(&text, &rest.text)..]);
        }
        kept.partial = None;
        kept.answers.push(text.clone());
        sink.keep(kept).await?;
        Ok(text)
    }
}

/// Whether a text ends where a text may end: with a sentence, or with a list item, a table row, code or an object.
fn ends_whole(text: &str) -> bool {
    let text = text.trim_end();
    let last_line = text.lines().last().unwrap_or_default().trim_start();
    let item = last_line.starts_with(['-', '*', '+', '|', '#', '`'])
        || last_line.split_once(['.', ')']).is_some_and(|(number, rest)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with(' ')
        });
    item || text.ends_with([
        '.', '!', '?', '…', ':', ';', '"', '\'', '”', '“', '»', '«', '’', ')', ']', '}', '*', '_', '。',
    ])
}

/// Without the sentence that was broken off at the end, if it is a small part of the text.
fn whole_sentences(text: &str) -> String {
    if ends_whole(text) {
        return text.to_owned();
    }
    let end = text.rmatch_indices(['.', '!', '?', '…', '。']).find(|(at, mark)| {
        let after = &text[at + mark.len()..];
        after.starts_with(char::is_whitespace)
    });
    match end {
        Some((at, mark)) if at * 2 > text.len() => text[..at + mark.len()].to_owned(),
        _ => text.to_owned(),
    }
}

/// How many bytes at the start of `rest` repeat the end of `text`.
fn seam(text: &str, rest: &str) -> usize {
    let longest = rest.len().min(text.len()).min(400);
    let sizes = (SEAM..=longest).rev();
    sizes.into_iter().find(|size| rest.is_char_boundary(*size) && text.ends_with(&rest[..*size])).unwrap_or(0)
}

/// Models like to begin with the title, which the template prints.
fn drop_own_title(blocks: &mut Vec<Block>, title: &str) {
    let letters = |text: &str| {
        text.chars()
            .filter(|character| character.is_alphabetic())
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    if matches!(blocks.first(), Some(Block::Heading { text, .. }) if letters(text) == letters(title)) {
        blocks.remove(0);
    }
}

/// The beginnings of the first paragraphs.
fn summary(blocks: &[Block]) -> String {
    let mut summary = String::new();
    for block in blocks {
        let Block::Paragraph { inlines, .. } = block else {
            continue;
        };
        let text: String = inlines.iter().filter_map(plain_text).collect();
        let sentence = first_sentence(&text).trim();
        if summary.chars().count() + sentence.chars().count() > SUMMARY_CHARACTERS {
            break;
        }
        if !summary.is_empty() {
            summary.push(' ');
        }
        summary.push_str(sentence);
    }
    summary
}

/// Up to the first mark that ends a sentence and is not inside a number.
fn first_sentence(text: &str) -> &str {
    let end = text.match_indices(['.', '!', '?', '。']).find(|(at, mark)| {
        let after = &text[at + mark.len()..];
        after.is_empty() || after.starts_with(char::is_whitespace) || *mark == "。"
    });
    end.map_or(text, |(at, mark)| &text[..at + mark.len()])
}

fn plain_text(inline: &Inline) -> Option<&str> {
    match inline {
        Inline::Text { text } | Inline::Emphasis { text } | Inline::Strong { text } => Some(text),
        Inline::Code { text } | Inline::Link { text, .. } => Some(text),
        Inline::Cite { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_last_sentence_is_noticed_and_cut() {
        assert!(ends_whole("It is done."));
        assert!(ends_whole("Points:\n\n- one\n- two"));
        assert!(ends_whole("1. first\n2. second"));
        assert!(!ends_whole("It is done. And then the"));
        assert_eq!(whole_sentences("It is done, and it is well. And then"), "It is done, and it is well.");
        assert_eq!(
            whole_sentences("A. The whole rest is one long sentence without"),
            "A. The whole rest is one long sentence without"
        );
    }

    #[test]
    fn what_a_continuation_repeats_is_found() {
        let text = "The press was made of wood";
        assert_eq!(&"made of wood and iron."[seam(text, "made of wood and iron.")..], " and iron.");
        assert_eq!(seam(text, " and of iron."), 0);
        assert_eq!(seam("über Bücher schreibt", "Bücher schreibt er."), "Bücher schreibt".len());
    }

    #[test]
    fn the_title_at_the_start_goes() {
        let heading = |text: &str| Block::Heading { level: 1, text: text.to_owned() };
        let mut blocks = vec![heading("1.2 The Press"), heading("Wood")];
        drop_own_title(&mut blocks, "The press");
        assert_eq!(blocks, [heading("Wood")]);
    }
}
