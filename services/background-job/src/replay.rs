//! Writing a job once more from its recorded calls, and comparing.
//!
//! No model is asked, no money is reserved, and nothing is stored, neither here nor in the document service. The document
//! and its sources are read as they are now, and so is how many sections are written at once: where any of it changed since, the prompt
//! changed, and the report says so.

mod player;

use std::sync::Arc;

use quire_fault::{Fault, Kind};
use quire_manuscript::book_to_markdown;
use serde::Serialize;

use crate::attempt::{Desk, Tools};
use crate::error::{JobError, Stop};
use crate::query::{self, Caller};
use crate::recorder::{DONE, WRITTEN};
use crate::recordings;
use crate::steps::{plan, section, sections, typeset};
use crate::store::entity::job;
use crate::store::{Status, Store};
use crate::tape::Tape;
use crate::writer::{Order, Plan, Written};
use player::{Played, Player};

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
    let (store, at_once) = (&tools.store, tools.sections_at_once);
    let mut replay = Replay { store, job: &job, at_once, steps: Vec::new() };
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
    store: &'a Store,
    job: &'a job::Model,
    /// Sections that were written at once: it decides what each was told.
    at_once: usize,
    steps: Vec<Replayed>,
}

impl Replay<'_> {
    /// Plan and sections, as far as there is a way; gives the Markdown.
    async fn write(&mut self, desk: &Desk) -> Result<String, JobError> {
        let player = self.player(plan::KEY, false).await?;
        let played = player.play(|draft, sink| async move { desk.pen.plan(draft, &sink).await }).await;
        let Some(plan) = self.compare::<Plan>(plan::KEY, played, player.played()).await? else {
            return Ok(String::new());
        };
        let mut written: Vec<Arc<Written>> = Vec::new();
        for (at, (_, planned)) in plan.sections().enumerate() {
            let key = section::step_key(planned);
            let player = self.player(&key, true).await?;
            let before = &written[..sections::told(at, self.at_once)];
            let order = || Order { plan: &plan, key: &planned.key, before };
            let work = |draft, sink| async move { desk.pen.write(order(), draft, &sink).await };
            let played = player.play(work).await;
            match self.compare(&key, played, player.played()).await? {
                Some(section) => written.push(Arc::new(section)),
                None => break,
            }
        }
        let written: Vec<Written> = written.into_iter().map(Arc::unwrap_or_clone).collect();
        Ok(book_to_markdown(&typeset::book(self.job, desk, &plan, &written)))
    }

    async fn player(&self, key: &str, keeps_text: bool) -> Result<Player, JobError> {
        let calls = recordings::of_step(self.store, &self.job.id, key).await?;
        Ok(Player::new(Tape::new(calls), keeps_text))
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
    use super::*;

    #[test]
    fn a_difference_is_shown_where_it_begins() {
        assert_eq!(difference("Tinte", "Tante"), "from byte 1 on: stored `inte`, now `ante`");
        assert_eq!(difference("ä1", "ä2"), "from byte 2 on: stored `1`, now `2`");
        assert_eq!(difference("ab", "abc"), "from byte 2 on: stored ``, now `c`");
    }
}
