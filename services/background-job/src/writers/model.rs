//! The writer that asks a language model: what is told it, and what is made of its answers.

mod anthropic;
mod ask;
mod citations;
mod client;
mod endings;
mod openai;
mod outline;
mod passages;
mod plan_prompt;
mod planning;
mod prompt;
mod refusal;
mod repetition;
mod sizes;
mod sse;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use quire_limit::upstream::{Upstream, Upstreams};
use quire_manuscript::{Block, Inline, Reference, blocks_from_markdown};

use ask::{Ask, Message, Trouble};
use client::Model;
pub use client::Provider;
use endings::{ends_whole, whole_sentences};
use passages::Passages;

use super::settings::{ModelConfig, ModelSettings};
use crate::writer::{Draft, Order, Pen, Plan, PlannedChapter, Sink, Task, WriteError, Writer, Written};

/// Passages shown for a section.
const SECTION_PASSAGES: usize = 12;
/// Characters of a section that later ones are told.
const SUMMARY_CHARACTERS: usize = 300;
/// An answer that is cut so often is taken as it is.
const MAX_CONTINUATIONS: usize = 4;

/// Writes with one model.
pub struct ModelWriter {
    model: Model,
}

impl ModelWriter {
    /// # Errors
    /// The TLS provider cannot be used.
    pub fn new(
        provider: Provider,
        settings: ModelSettings,
        config: &ModelConfig,
        upstreams: &Upstreams,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self { model: Model::new(provider, settings, config, upstreams)? })
    }

    /// The model's name, and the gate that its calls pass.
    pub fn gate(&self) -> (String, Arc<Upstream>) {
        (self.model.name().to_owned(), self.model.upstream())
    }
}

#[async_trait]
impl Writer for ModelWriter {
    async fn open(&self, task: Arc<Task>) -> Result<Box<dyn Pen>, WriteError> {
        let passages = Passages::build(&task.sources);
        Ok(Box::new(ModelPen { model: self.model.clone(), task, passages }))
    }
}

struct ModelPen {
    model: Model,
    task: Arc<Task>,
    passages: Passages,
}

#[async_trait]
impl Pen for ModelPen {
    async fn plan(&self, kept: Draft, sink: &Sink) -> Result<Plan, WriteError> {
        self.make_plan(kept, sink).await
    }

    async fn revise(&self, plan: &Plan, chapters: Vec<PlannedChapter>) -> Result<Plan, WriteError> {
        Ok(self.revised(plan, chapters))
    }

    async fn write(&self, order: Order<'_>, mut kept: Draft, sink: &Sink) -> Result<Written, WriteError> {
        let place = order.plan.sections().find(|(_, section)| section.key == order.key);
        let (chapter, section) =
            place.ok_or_else(|| WriteError::failed("poison", "the stored plan has no such section"))?;
        let title = section.title.as_deref().unwrap_or(&chapter.title);
        let query = format!("{title} {} {} {}", section.brief, chapter.title, self.task.title);
        let passages = self.passages.find(&query, SECTION_PASSAGES);
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
                    let said = ("no_text", "the language model wrote no text for a section");
                    return Err(given_up(&mut kept, attempt + 1, said, sink).await);
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

    fn disclosure(&self, writers: &[&str]) -> String {
        let models = writers.join(", ");
        let one = writers.len() <= 1;
        let sentence = match (self.task.language.as_str(), one) {
            ("de", true) => "Dieser Text wurde von einem Sprachmodell geschrieben",
            ("de", false) => "Dieser Text wurde von Sprachmodellen geschrieben",
            ("fr", true) => "Ce texte a été écrit par un modèle de langage",
            ("fr", false) => "Ce texte a été écrit par des modèles de langage",
            ("it", true) => "Questo testo è stato scritto da un modello linguistico",
            ("it", false) => "Questo testo è stato scritto da modelli linguistici",
            ("es", true) => "Este texto fue escrito por un modelo de lenguaje",
            ("es", false) => "Este texto fue escrito por modelos de lenguaje",
            ("ru", true) => "Этот текст написан языковой моделью",
            ("ru", false) => "Этот текст написан языковыми моделями",
            ("uk", true) => "Цей текст написано мовною моделлю",
            ("uk", false) => "Цей текст написано мовними моделями",
            (_, true) => "This text was written by a language model",
            (_, false) => "This text was written by language models",
        };
        format!("{sentence} ({models}).")
    }
}

impl ModelPen {
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
            sink.show(answer.clone()).await?;
            return Ok(answer.clone());
        }
        let mut text = self.begun(kept, sink).await?;
        let (mut continuations, mut differently) = (0, false);
        loop {
            let asked = conversation(messages, &text);
            let answer = match self.model.ask(Ask { messages: &asked, after: &text, differently }, sink).await
            {
                Err(Trouble::Looping) if !differently => {
                    tracing::warn!("the model repeats itself; asking once more");
                    differently = true;
                    text.clear();
                    continue;
                }
                answer => answer?,
            };
            kept.usage += answer.usage;
            text.push_str(&answer.text);
            let unfinished = answer.cut || (continuations == 0 && !ends_whole(&text));
            if !unfinished || continuations == MAX_CONTINUATIONS {
                kept.partial = None;
                kept.answers.push(text.clone());
                sink.keep_paid(kept, answer.outcome).await?;
                return Ok(text);
            }
            continuations += 1;
            // It is paid for: whatever becomes of the rest, it is not asked for again.
            kept.partial = Some(text.clone());
            sink.keep_paid(kept, answer.outcome).await?;
        }
    }

    /// The first part of the answer under way, if an attempt before left one.
    async fn begun(&self, kept: &mut Draft, sink: &Sink) -> Result<String, WriteError> {
        let Some(partial) = kept.partial.clone() else {
            return Ok(String::new());
        };
        if repetition::loops(&partial) {
            kept.partial = None;
            sink.restart().await?;
            return Ok(String::new());
        }
        // It may be stored as pieces only.
        sink.keep(kept).await?;
        sink.show(partial.clone()).await?;
        Ok(partial)
    }
}

/// Notes that the last answers were of no use, and says why. In this job they are read again whenever it goes on, so that
/// they are not bought again; a job that takes the step over asks anew.
async fn given_up(
    kept: &mut Draft,
    useless: usize,
    (reason, sentence): (&'static str, &str),
    sink: &Sink,
) -> WriteError {
    kept.useless = u32::try_from(useless).unwrap_or(u32::MAX);
    match sink.keep(kept).await {
        Ok(()) => WriteError::failed(reason, sentence),
        Err(error) => error,
    }
}

/// What is said to the model so that it goes on after `text`.
fn conversation(messages: &[Message], text: &str) -> Vec<Message> {
    let mut asked = messages.to_vec();
    if !text.is_empty() {
        asked.push(Message::assistant(text));
        asked.push(prompt::go_on());
    }
    asked
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
    fn the_title_at_the_start_goes() {
        let heading = |text: &str| Block::Heading { level: 1, text: text.to_owned() };
        let mut blocks = vec![heading("1.2 The Press"), heading("Wood")];
        drop_own_title(&mut blocks, "The press");
        assert_eq!(blocks, [heading("Wood")]);
    }
}
