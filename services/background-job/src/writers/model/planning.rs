//! Planning a document with a model: a short one in one answer; of a long one first the chapters, then the sections of
//! each. Every answer is kept before the next one is asked for, so that a crash buys nothing again.

use serde_json::Value;

use super::ModelPen;
use super::ask::Message;
use super::outline::{self, Chapter, OutlineError, Section};
use super::{plan_prompt, sizes};
use crate::writer::{Draft, Plan, PlannedChapter, PlannedSection, Sink, WriteError};

/// Passages shown for an outline, or for a chapter's.
const OUTLINE_PASSAGES: usize = 24;

/// The answers so far, and where they go.
struct Talk<'a> {
    pen: &'a ModelPen,
    kept: Draft,
    /// Answers that were used.
    used: usize,
    sink: &'a Sink,
}

impl ModelPen {
    pub(super) async fn make_plan(&self, kept: Draft, sink: &Sink) -> Result<Plan, WriteError> {
        let mut talk = Talk { pen: self, kept, used: 0, sink };
        let chapters = if sizes::has_two_levels(self.task.pages) {
            self.plan_chapters(&mut talk).await?
        } else {
            self.plan_whole(&mut talk).await?
        };
        Ok(Plan { chapters, state: Value::Null, usage: talk.kept.usage })
    }

    async fn plan_whole(&self, talk: &mut Talk<'_>) -> Result<Vec<PlannedChapter>, WriteError> {
        let asked = sizes::sections(self.task.pages);
        let messages =
            plan_prompt::whole(&self.task, asked, &self.passages.find(&self.query(), OUTLINE_PASSAGES));
        let (wished, most) = (&self.task.chapter_titles, sizes::most_sections(asked));
        let chapters = talk.usable(messages, |answer| outline::whole(answer, wished, most)).await?;
        let count = chapters.iter().map(|chapter| chapter.sections.len()).sum();
        let words = sizes::section_words(sizes::body_words(self.task.pages), count);
        let planned = (1..).zip(chapters).map(|(number, mut chapter)| {
            let sections = std::mem::take(&mut chapter.sections);
            planned(number, chapter, sections, words)
        });
        Ok(planned.collect())
    }

    async fn plan_chapters(&self, talk: &mut Talk<'_>) -> Result<Vec<PlannedChapter>, WriteError> {
        let (task, wished) = (&self.task, &self.task.chapter_titles);
        let passages = self.passages.find(&self.query(), OUTLINE_PASSAGES);
        let messages = plan_prompt::chapters(task, sizes::chapters(task.pages), &passages);
        let chapters = talk.usable(messages, |answer| outline::chapters(answer, wished)).await?;
        let pages: Vec<u32> = chapters.iter().map(|chapter| chapter.pages).collect();
        let wanted = sizes::shares(sizes::sections(task.pages), &pages);
        let words = sizes::shares(sizes::body_words(task.pages), &pages);
        let mut plan = Vec::with_capacity(chapters.len());
        for (at, chapter) in chapters.iter().enumerate() {
            let query = format!("{} {} {}", chapter.title, chapter.about, task.title);
            let passages = self.passages.find(&query, OUTLINE_PASSAGES);
            let mut sections: Vec<Section> = Vec::new();
            for asked in sizes::portions(wanted[at]) {
                let messages = plan_prompt::chapter(task, &chapters, at, (&sections, asked), &passages);
                let most = sizes::most_sections(asked);
                sections.extend(talk.usable(messages, |answer| outline::sections(answer, most)).await?);
            }
            let words = sizes::section_words(words[at], sections.len());
            plan.push(planned(at + 1, chapter.clone(), sections, words));
        }
        Ok(plan)
    }

    /// The words of the document stay; a new section gets as many as the others have on average.
    pub(super) fn revised(&self, plan: &Plan, mut chapters: Vec<PlannedChapter>) -> Plan {
        let sections = || chapters.iter().flat_map(|chapter| &chapter.sections);
        let known: Vec<u32> = sections().map(|section| section.words).filter(|words| *words > 0).collect();
        let mean = known.iter().sum::<u32>() / u32::try_from(known.len()).unwrap_or(u32::MAX).max(1);
        let wanted: Vec<u32> =
            sections().map(|section| if section.words > 0 { section.words } else { mean.max(1) }).collect();
        let mut shares = sizes::shares(sizes::body_words(self.task.pages), &wanted).into_iter();
        for section in chapters.iter_mut().flat_map(|chapter| &mut chapter.sections) {
            section.words = shares.next().unwrap_or_default().max(sizes::LEAST_SECTION_WORDS);
        }
        Plan { chapters, state: plan.state.clone(), usage: plan.usage }
    }

    fn query(&self) -> String {
        format!("{} {} {}", self.task.title, self.task.topic, self.task.chapter_titles.join(" "))
    }
}

impl Talk<'_> {
    /// The next answer that `read` takes; one that it does not is mended once.
    async fn usable<T>(
        &mut self,
        mut messages: Vec<Message>,
        read: impl Fn(&str) -> Result<T, OutlineError> + Send,
    ) -> Result<T, WriteError> {
        const TRIES: usize = 2;
        for _ in 0..TRIES {
            let answer = self.pen.answer(self.used, &messages, &mut self.kept, self.sink).await?;
            self.used += 1;
            match read(&answer) {
                Ok(value) => return Ok(value),
                Err(error) => {
                    tracing::warn!(problem = error.kind(), "the model's outline cannot be used");
                    messages.push(Message::assistant(answer));
                    messages.push(plan_prompt::mend(&error.to_string()));
                }
            }
        }
        let sentence = "the language model did not give an outline that can be used";
        Err(super::given_up(&mut self.kept, TRIES, ("no_outline", sentence), self.sink).await)
    }
}

fn planned(number: usize, chapter: Chapter, sections: Vec<Section>, words: u32) -> PlannedChapter {
    let section = |(place, section): (usize, Section)| PlannedSection {
        key: format!("{number}.{place}"),
        title: Some(section.title),
        brief: section.brief,
        words,
    };
    let sections = (1..).zip(sections).map(section).collect();
    PlannedChapter { title: chapter.title, about: chapter.about, sections }
}
