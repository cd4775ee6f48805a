//! Writing a job once more from its recorded calls, and comparing.
//!
//! No model is asked, no money is reserved, and nothing is stored, neither here nor in the document service. The document
//! and its sources are read as they are now: who changed them since is told that the prompt changed.

mod player;

use std::sync::Arc;

use quire_fault::{Fault, Kind};
use quire_manuscript::book_to_markdown;
use serde::Serialize;

use crate::attempt::{Desk, Tools};
use crate::error::{JobError, Stop};
use crate::query::{self, Caller};
use crate::recorder::{DONE, WRITTEN};
use crate::recordings::Heard;
use crate::steps::{plan, review, section, typeset};
use crate::store::entity::job;
use crate::store::{Purpose, Status, Store};
use crate::taken;
use crate::tape::Tape;
use crate::writer::{Order, Pen, Plan, Written};
use player::{Played, Player};

/// No installation writes more sections of a job at the same time.
const AT_ONCE: usize = 16;
/// Characters shown of either side where they differ.
const SHOWN: usize = 40;

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Byte for byte what is stored.
    Same,
    Differs,
    NoRecording,
    PromptChanged,
    /// The writer gave up.
    Failed,
    /// There is nothing stored to compare with.
    Written,
}

/// One step that was done once more.
#[derive(Debug)]
pub struct Replayed {
    pub key: String,
    pub verdict: Verdict,
    /// The first difference, the hash of the request, or why the writer gave up.
    pub detail: String,
    /// Recordings that were used.
    pub calls: usize,
}

/// What it came to.
#[derive(Debug)]
pub struct Report {
    pub job: job::Model,
    pub steps: Vec<Replayed>,
    /// Everything went as it did then.
    pub reproduced: bool,
    /// The document before it is typeset, as far as it was written.
    pub markdown: String,
}

/// # Errors
/// There is no such job, or a service or the database is gone.
pub async fn replay(tools: &Tools, job_id: &str) -> Result<Report, JobError> {
    let job = query::get(&tools.store, &Caller::Operator, job_id).await?;
    let mut replay = Replay { tools, store: &tools.store, job: &job, steps: Vec::new() };
    let markdown = match Desk::open(tools, &job).await {
        Ok(desk) => replay.write(&desk).await?,
        Err(Stop::Failed { sentence, .. }) => {
            replay.note("open", Verdict::Failed, sentence, 0);
            String::new()
        }
        Err(Stop::Database(error)) => return Err(error.into()),
        Err(stop) => {
            let fault = Fault::new(Kind::Unavailable, "DOCUMENT_UNAVAILABLE", stop.to_string());
            return Err(JobError::Peer(fault));
        }
    };
    let steps = replay.steps;
    let reproduced = reproduced(&job, &steps);
    Ok(Report { job, steps, reproduced, markdown })
}

struct Replay<'a> {
    tools: &'a Tools,
    store: &'a Store,
    job: &'a job::Model,
    steps: Vec<Replayed>,
}

impl Replay<'_> {
    /// Plan and sections, as far as there is a way; gives the Markdown.
    async fn write(&mut self, desk: &Desk) -> Result<String, JobError> {
        let calls = taken::calls(self.store, &self.job.id, plan::KEY).await?;
        let player = Player::new(Tape::new(calls), false);
        let other = self.stand_in(desk, plan::KEY).await?;
        let pen = other.as_ref().unwrap_or(&desk.pen);
        let played = player.play(|draft, sink| async move { pen.plan(draft, &sink).await }).await;
        let Some(plan) = self.compare::<Plan>(plan::KEY, played, player.played()).await? else {
            return Ok(String::new());
        };
        if self.job.purpose() == Purpose::Outline {
            return Ok(String::new());
        }
        // What the customer made of it was written.
        let plan = self.stored(review::KEY).await?.unwrap_or(plan);
        let mut written: Vec<Arc<Written>> = Vec::new();
        for (_, planned) in plan.sections() {
            let key = section::step_key(planned);
            let calls = taken::calls(self.store, &self.job.id, &key).await?;
            let other = self.stand_in(desk, &key).await?;
            let pen = other.as_ref().unwrap_or(&desk.pen).as_ref();
            let (played, calls) = play_section(pen, &plan, &planned.key, &written, &calls).await;
            match self.compare(&key, played, calls).await? {
                Some(section) => written.push(Arc::new(section)),
                None => break,
            }
        }
        let written: Vec<Written> = written.into_iter().map(Arc::unwrap_or_clone).collect();
        Ok(book_to_markdown(&typeset::book(self.job, desk, &plan, &written)))
    }

    /// The pen of who stood in at a step; `None`: nobody did, or it is no longer set up.
    async fn stand_in(&self, desk: &Desk, key: &str) -> Result<Option<Box<dyn Pen>>, JobError> {
        let step = self.store.step(&self.job.id, key).await?;
        let name = step.map(|step| step.fallback).unwrap_or_default();
        let Ok(writer) = self.tools.writers.named(&name) else { return Ok(None) };
        Ok(writer.open(desk.task.clone()).await.ok())
    }

    async fn stored<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, JobError> {
        let step = self.store.step(&self.job.id, key).await?;
        Ok(step.and_then(|step| serde_json::from_str(&step.content?).ok()))
    }

    /// Notes what became of a step, and gives what the next ones go on from: what was written now, or else what is stored.
    async fn compare<T>(&mut self, key: &str, played: Played<T>, calls: usize) -> Result<Option<T>, JobError>
    where
        T: Serialize + serde::de::DeserializeOwned,
    {
        let stored = self.store.step(&self.job.id, key).await?;
        let stored = stored.filter(|step| [DONE, WRITTEN].contains(&step.status.as_str()));
        let stored = stored.and_then(|step| step.content);
        let (verdict, detail, now) = match played {
            Played::Written(value) => {
                let json = serde_json::to_string(&value).expect("plain data");
                match stored.as_deref() {
                    None => (Verdict::Written, String::new(), Some(value)),
                    Some(stored) if stored == json => (Verdict::Same, String::new(), Some(value)),
                    Some(stored) => (Verdict::Differs, difference(stored, &json), Some(value)),
                }
            }
            Played::Failed(sentence) => (Verdict::Failed, sentence, None),
            Played::NoRecording => (Verdict::NoRecording, String::new(), None),
            Played::PromptChanged(hash) => {
                (Verdict::PromptChanged, format!("the prompt changed: hash {hash} was never asked"), None)
            }
        };
        self.note(key, verdict, detail, calls);
        let kept = || stored.as_deref().and_then(|stored| serde_json::from_str(stored).ok());
        Ok(now.or_else(kept))
    }

    fn note(&mut self, key: &str, verdict: Verdict, detail: String, calls: usize) {
        self.steps.push(Replayed { key: key.to_owned(), verdict, detail, calls });
    }
}

/// One section, and how many recordings it used. What it was told then depends on how many were written at the same time:
/// the first number with which its recordings begin is the right one.
async fn play_section(
    pen: &dyn Pen,
    plan: &Plan,
    key: &str,
    written: &[Arc<Written>],
    calls: &[(String, Heard)],
) -> (Played<Written>, usize) {
    let play = async |before: &[Arc<Written>]| {
        let player = Player::new(Tape::new(calls.to_vec()), true);
        let work = |draft, sink| async move { pen.write(Order { plan, key, before }, draft, &sink).await };
        (player.play(work).await, player.played())
    };
    let told_everything = play(written).await;
    if !matches!(told_everything.0, Played::PromptChanged(_)) {
        return told_everything;
    }
    for less in 1..AT_ONCE.min(written.len() + 1) {
        let told_less = play(&written[..written.len() - less]).await;
        if !matches!(told_less.0, Played::PromptChanged(_)) {
            return told_less;
        }
    }
    told_everything
}

/// Whether every step that was done then is the same, and a failure of the writer is the one of the job.
fn reproduced(job: &job::Model, steps: &[Replayed]) -> bool {
    let Some((last, before)) = steps.split_last() else { return false };
    let same = |step: &Replayed| step.verdict == Verdict::Same;
    let ending = match job.status() {
        Status::Completed => same(last),
        // Whatever it failed at later, the text is the same.
        Status::Failed => {
            same(last) || (last.verdict == Verdict::Failed && job.failure.contains(&last.detail))
        }
        // Where it stood, nothing is stored yet.
        Status::Queued | Status::Running | Status::Paused | Status::Cancelled => {
            matches!(last.verdict, Verdict::Same | Verdict::NoRecording | Verdict::Written)
        }
    };
    ending && before.iter().all(same)
}

/// Where two texts differ first, and how they go on there.
fn difference(stored: &str, now: &str) -> String {
    let at = stored.char_indices().zip(now.chars()).find(|((_, was), is)| was != is);
    let at = at.map_or(stored.len().min(now.len()), |((at, _), _)| at);
    let rest = |text: &str| text[at..].chars().take(SHOWN).collect::<String>();
    format!("from byte {at} on: stored `{}`, now `{}`", rest(stored), rest(now))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use quire_manuscript::Reference;

    use super::*;
    use crate::recordings::{End, Ending};
    use crate::writer::{Draft, PlannedChapter, Sink, Usage, WriteError};

    /// Asks one thing, which names how many sections it is told of, and writes the answer's length.
    struct Counting;

    #[async_trait]
    impl Pen for Counting {
        async fn plan(&self, _: Draft, _: &Sink) -> Result<Plan, WriteError> {
            Err(WriteError::Ended)
        }

        async fn write(&self, order: Order<'_>, _: Draft, sink: &Sink) -> Result<Written, WriteError> {
            let told = order.before.len().to_string();
            let heard = sink.tape().and_then(|tape| tape.play(&told)).ok_or(WriteError::Ended)?;
            Ok(written(&heard.answer))
        }

        fn references(&self, _: &Plan, _: &[Written]) -> Vec<Reference> {
            Vec::new()
        }

        async fn revise(&self, _: &Plan, _: Vec<PlannedChapter>) -> Result<Plan, WriteError> {
            Err(WriteError::Ended)
        }

        fn disclosure(&self, _: &[&str]) -> String {
            String::new()
        }
    }

    fn written(key: &str) -> Written {
        let (writer, summary) = (String::new(), String::new());
        Written { key: key.to_owned(), blocks: Vec::new(), writer, summary, usage: Usage::default() }
    }

    async fn played(asked: &str) -> (Played<Written>, usize) {
        let ending = Ending::Answered { end: Some(End::Whole), done: true };
        let heard = Heard { answer: "it".to_owned(), ending, input_tokens: None, output_tokens: None };
        let plan = Plan { chapters: Vec::new(), state: serde_json::Value::Null, usage: Usage::default() };
        let before = ["1", "2", "3"].map(written).map(Arc::new);
        play_section(&Counting, &plan, "4", &before, &[(asked.to_owned(), heard)]).await
    }

    #[tokio::test]
    async fn a_section_is_told_what_it_was_told_then() {
        for asked in ["0", "1", "2", "3"] {
            let (played, calls) = played(asked).await;
            assert!(matches!(played, Played::Written(section) if section.key == "it"), "{asked}");
            assert_eq!(calls, 1);
        }
        let (played, calls) = played("4").await;
        assert!(matches!(played, Played::PromptChanged(hash) if hash == "3"), "what it would be told now");
        assert_eq!(calls, 0);
    }

    #[test]
    fn a_difference_is_shown_where_it_begins() {
        assert_eq!(difference("Tinte", "Tante"), "from byte 1 on: stored `inte`, now `ante`");
        assert_eq!(difference("ä1", "ä2"), "from byte 2 on: stored `1`, now `2`");
        assert_eq!(difference("ab", "abc"), "from byte 2 on: stored ``, now `c`");
    }
}
