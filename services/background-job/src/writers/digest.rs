//! The writer without a model: cited quotations from the customer's sources.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use quire_digest::{Assignment, Corpus, DigestError, PageMetrics, PlanRequest};
use quire_manuscript::{Reference, section_to_markdown};
use serde::{Deserialize, Serialize};

use super::digest_plan;
use crate::peers::SourceText;
use crate::writer::{
    Draft, Order, Pen, Plan, PlannedChapter, PlannedSection, Sink, Task, Usage, WriteError, Writer, Written,
};

const NAME: &str = "digest";

/// Needs no settings and no network.
pub struct DigestWriter;

#[async_trait]
impl Writer for DigestWriter {
    async fn open(&self, task: Arc<Task>) -> Result<Box<dyn Pen>, WriteError> {
        if task.sources.is_empty() {
            return Err(WriteError::failed("no_sources", "a digest needs at least one source file"));
        }
        let sources = task.sources.iter().map(source).collect::<Vec<_>>();
        let corpus = blocking(move || Corpus::build(&sources)).await?;
        if corpus.sentence_count() == 0 {
            return Err(WriteError::failed("no_text", "no sentence of the source files can be quoted"));
        }
        Ok(Box::new(DigestPen { task, corpus: Arc::new(corpus), ready: OnceLock::new() }))
    }
}

struct DigestPen {
    task: Arc<Task>,
    corpus: Arc<Corpus>,
    /// Read from the plan at first use: of a long document it is large.
    ready: OnceLock<Arc<Ready>>,
}

/// What the plan step leaves for the sections.
#[derive(Serialize, Deserialize)]
pub struct State {
    pub plan: quire_digest::Plan,
    pub assignment: Assignment,
}

struct Ready {
    state: State,
    references: Vec<Reference>,
}

#[async_trait]
impl Pen for DigestPen {
    async fn plan(&self, _kept: Draft, _sink: &Sink) -> Result<Plan, WriteError> {
        let (corpus, task) = (self.corpus.clone(), self.task.clone());
        let state = blocking(move || {
            let request = PlanRequest {
                title: &task.title,
                description: &task.topic,
                outline: &task.chapter_titles,
                target_pages: task.pages,
                language: Some(&task.language),
            };
            let plan = quire_digest::plan(&corpus, &request, &PageMetrics::default());
            let assignment = quire_digest::assign(&corpus, &plan);
            State { plan, assignment }
        })
        .await?;
        let chapters = state.plan.chapters.iter().map(|chapter| PlannedChapter {
            title: chapter.title.clone(),
            about: String::new(),
            sections: chapter
                .sections
                .iter()
                .map(|section| PlannedSection {
                    key: section.key.clone(),
                    title: section.title.clone(),
                    brief: String::new(),
                    words: 0,
                })
                .collect(),
        });
        Ok(Plan {
            chapters: chapters.collect(),
            state: serde_json::to_value(&state).expect("plain data"),
            usage: Usage::default(),
        })
    }

    async fn revise(&self, plan: &Plan, chapters: Vec<PlannedChapter>) -> Result<Plan, WriteError> {
        if chapters == plan.chapters {
            return Ok(plan.clone());
        }
        let state = State::deserialize(&plan.state)
            .map_err(|_| WriteError::failed("poison", "the stored plan cannot be read"))?;
        let corpus = self.corpus.clone();
        let (chapters, state) = blocking(move || digest_plan::revise(&corpus, &state.plan, chapters))
            .await?
            .ok_or_else(|| {
                WriteError::failed(
                    "nothing_to_quote",
                    "the sources have nothing for any section of the outline",
                )
            })?;
        let state = serde_json::to_value(&state).expect("plain data");
        Ok(Plan { chapters, state, usage: plan.usage })
    }

    async fn write(&self, order: Order<'_>, _kept: Draft, sink: &Sink) -> Result<Written, WriteError> {
        let ready = self.ready(order.plan)?;
        let (corpus, key, language) = (self.corpus.clone(), order.key.to_owned(), self.task.language.clone());
        let (section, text) = blocking(move || {
            let State { plan, assignment } = &ready.state;
            let section = quire_digest::write_section(&corpus, plan, assignment, &key)?;
            let text = section_to_markdown(&section, &ready.references, &language);
            Ok::<_, DigestError>((section, text))
        })
        .await?
        .map_err(|error| {
            tracing::error!(%error, "the digest cannot be written");
            WriteError::failed("digest", "the sources changed while the document was written")
        })?;
        sink.show(text).await?;
        Ok(Written {
            key: order.key.to_owned(),
            blocks: section.blocks,
            writer: NAME.to_owned(),
            summary: String::new(),
            usage: Usage::default(),
        })
    }

    fn references(&self, plan: &Plan, _sections: &[Written]) -> Vec<Reference> {
        self.ready(plan).map(|ready| ready.references.clone()).unwrap_or_default()
    }

    fn disclosure(&self, _writers: &[&str]) -> String {
        quire_digest::disclosure(&self.task.language)
    }
}

impl DigestPen {
    fn ready(&self, plan: &Plan) -> Result<Arc<Ready>, WriteError> {
        if let Some(ready) = self.ready.get() {
            return Ok(ready.clone());
        }
        let state = State::deserialize(&plan.state)
            .map_err(|_| WriteError::failed("poison", "the stored plan cannot be read"))?;
        let mut references = quire_digest::references(&self.corpus, &state.plan, &state.assignment);
        // The running text calls a source by its title; here it is tied to the file that the customer knows.
        for reference in &mut references {
            if let Some(source) = self.task.sources.iter().find(|source| source.id == reference.id) {
                reference.text = format!("{} ({})", reference.text, source.file_name);
            }
        }
        Ok(self.ready.get_or_init(|| Arc::new(Ready { state, references })).clone())
    }
}

fn source(source: &SourceText) -> quire_digest::SourceText {
    quire_digest::SourceText {
        id: source.id.clone(),
        title: quire_digest::source_title(&source.file_name, &source.pages, source.paged),
        pages: source.pages.clone(),
        has_pages: source.paged,
    }
}

/// Runs work that computes for long without waiting.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, WriteError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "the digest broke off");
        WriteError::failed("digest", "the digest could not be composed from these sources")
    })
}
