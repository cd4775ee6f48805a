//! One attempt of a job: its steps in order, each done once however many attempts there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quire_proto::document::v1 as doc;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::ending::FINISH;
use crate::error::Stop;
use crate::lease::Lease;
use crate::metrics::JobMetrics;
use crate::money::budget::Budgets;
use crate::peers::{Documents, Fenced, Taking};
use crate::press::Press;
use crate::recorder::{DONE, RUNNING};
use crate::retry::classify;
use crate::steps;
use crate::store::entity::{job, step};
use crate::store::{Purpose, Store};
use crate::writer::{Pen, Task};
use crate::writers::Writers;

/// What every attempt works with.
#[derive(Clone)]
pub struct Tools {
    pub store: Store,
    pub documents: Documents,
    pub writers: Writers,
    pub press: Arc<dyn Press>,
    pub budgets: Budgets,
    /// Sections of one job that are written at the same time.
    pub sections_at_once: usize,
    /// So long a writer that cannot write is waited for, if another one may stand in.
    pub fallback_after: Duration,
    pub metrics: JobMetrics,
}

/// A claimed job being done.
pub struct Attempt<'a> {
    pub tools: &'a Tools,
    pub lease: &'a Lease,
    pub job: &'a job::Model,
    /// Cancelled when the process shuts down: stop at the next checkpoint.
    pub drain: &'a CancellationToken,
    /// Set while the job shall rest: the same.
    pub paused: &'a AtomicBool,
}

/// The document as this attempt found it, and the writer ready for it.
pub struct Desk {
    pub task: Arc<Task>,
    /// Of the writer that was ordered.
    pub pen: Box<dyn Pen>,
    /// Its name.
    writer: String,
    /// Who may stand in for it and can, in this order.
    fallbacks: Vec<String>,
    /// Changes when anything changes that the text depends on.
    pub input_hash: String,
    /// What the document service calls this state of the document.
    pub revision: String,
    /// The customer wants to approve the outline.
    pub review_outline: bool,
}

impl Attempt<'_> {
    /// Runs every step that is not done.
    ///
    /// # Errors
    /// Why the attempt ends early; everything done so far is kept. [`Stop::Cancelled`]: what is finished is still to be
    /// delivered.
    pub async fn run(&self) -> Result<(), Stop> {
        if self.job.cancel_requested_at.is_some() {
            return Err(Stop::Cancelled);
        }
        if self.job.step == FINISH {
            // Everything is stored, and the document may be handed over already.
            return steps::finish::run(self, self.job.counted_pages).await;
        }
        if self.job.purpose() == Purpose::Outline {
            return steps::outline::run(self).await;
        }
        self.attach().await?;
        let desk = self.desk().await?;
        let plan = steps::plan::run(self, &desk).await?;
        let plan = steps::review::run(self, &desk, plan).await?;
        let sections = steps::sections::run_all(self, &desk, &plan).await?;
        let book = steps::typeset::book(self.job, &desk, &plan, &sections);
        let pages = steps::typeset::run(self, book).await?;
        steps::finish::run(self, pages).await
    }

    /// Between two steps: whether the process wants to stop, or the job shall rest.
    pub fn checkpoint(&self) -> Result<(), Stop> {
        if self.drain.is_cancelled() {
            return Err(Stop::GivenBack);
        }
        if self.paused.load(Ordering::Relaxed) { Err(Stop::Paused) } else { Ok(()) }
    }

    /// A named place between two durable steps is reached.
    pub fn reach(&self, point: &'static str) {
        self.store().world.reach(point);
    }

    pub fn store(&self) -> &Store {
        &self.tools.store
    }

    pub fn documents(&self) -> &Documents {
        &self.tools.documents
    }

    /// Pages that were paid, or ordered by an operator.
    pub fn pages(&self) -> u32 {
        self.job.ordered_pages()
    }

    pub fn fence(&self) -> Fenced<'_> {
        Fenced { document_id: &self.job.document_id, job_id: &self.job.id, epoch: self.lease.epoch }
    }

    /// An empty checkpoint of this attempt.
    pub fn step(&self, key: &str, input_hash: &str) -> step::Model {
        step::Model {
            job_id: self.job.id.clone(),
            step_key: key.to_owned(),
            input_hash: input_hash.to_owned(),
            status: RUNNING.to_owned(),
            epoch: self.lease.epoch,
            ..step::Model::default()
        }
    }

    /// The checkpoint of a step, if it was made from the same input.
    pub async fn kept(&self, key: &str, input_hash: &str) -> Result<Option<step::Model>, Stop> {
        let kept = self.store().step(&self.job.id, key).await?;
        Ok(kept.filter(|step| step.input_hash == input_hash))
    }

    /// The checkpoints of all sections, whatever they were made from.
    pub async fn kept_sections(&self) -> Result<Vec<step::Model>, Stop> {
        let steps = step::Entity::find()
            .filter(step::Column::JobId.eq(&self.job.id))
            .filter(step::Column::StepKey.like("section:%"));
        Ok(steps.all(self.store().database.reader()).await?)
    }

    /// Makes the job the document's own, once, and says that work begins.
    async fn attach(&self) -> Result<(), Stop> {
        const ATTACH: &str = "attach";
        if self.kept(ATTACH, "").await?.is_none() {
            let attached = self.documents().attach(&self.job.document_id, &self.job.id, Taking::Any).await;
            attached.map_err(|status| classify("document.AttachJob", &status))?;
            self.reach("job.step.attach.sent");
            let mut change = self.store().change(self.lease).await?;
            let done_at = Some(change.at.unix_micros());
            change
                .checkpoint(step::Model { status: DONE.to_owned(), done_at, ..self.step(ATTACH, "") })
                .await?;
            change.step_done();
            change.commit().await?;
            self.reach("job.step.attach.stored");
        }
        let generating = self.documents().report(self.fence(), doc::DocumentStatus::Generating, 0, "").await;
        generating.map_err(|status| classify("document.ReportJob", &status))
    }

    /// Reads the document and gets its writer ready.
    pub async fn desk(&self) -> Result<Desk, Stop> {
        Desk::open(self.tools, self.job).await
    }

    /// The pen of who stands in at a step; `None`: nobody does.
    pub async fn fallback_pen(&self, desk: &Desk, step: &step::Model) -> Result<Option<Box<dyn Pen>>, Stop> {
        if step.fallback.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.tools.writers.named(&step.fallback)?.open(desk.task.clone()).await?))
    }
}

impl Desk {
    /// Reads the document of a job and gets its writer ready.
    ///
    /// # Errors
    /// As [`Attempt::run`].
    pub async fn open(tools: &Tools, job: &job::Model) -> Result<Self, Stop> {
        let brief = tools.documents.brief(&job.document_id).await;
        let brief = brief.map_err(|status| classify("document.GetBrief", &status))?;
        let document = brief.document.ok_or_else(|| Stop::retry("document.GetBrief answered no document"))?;
        let sources = tools.documents.sources(&job.document_id, &brief.sources).await;
        let sources = sources.map_err(|status| classify("document.ReadSources", &status))?;
        let digests: Vec<(&str, &str)> =
            brief.sources.iter().map(|source| (source.id.as_str(), source.sha256.as_str())).collect();
        let pages = job.ordered_pages();
        // The model's name is not part of it: another model does not make what was written wrong.
        let input_hash = input_hash(&(
            &document.writer,
            &document.title,
            &document.topic,
            &document.language,
            pages,
            &brief.chapter_titles,
            digests,
        ));
        let task = Arc::new(Task {
            title: document.title,
            topic: document.topic,
            language: document.language,
            pages,
            chapter_titles: brief.chapter_titles,
            sources,
        });
        let writer = tools.writers.named(&document.writer)?;
        let pen = writer.open(task.clone()).await?;
        let mut fallbacks = document.fallback_writers;
        fallbacks.retain(|name| tools.writers.can_stand_in(name));
        let (writer, review_outline) = (document.writer, document.review_outline);
        let revision = brief.revision;
        Ok(Self { task, pen, writer, fallbacks, input_hash, revision, review_outline })
    }

    /// The name of who writes where `fallback` stands in, or nobody.
    pub fn writer_at<'a>(&'a self, fallback: &'a str) -> &'a str {
        if fallback.is_empty() { &self.writer } else { fallback }
    }

    /// Who comes after the one that stands in; `None`: nobody is left.
    pub fn next_writer(&self, fallback: &str) -> Option<&str> {
        let place = self.fallbacks.iter().position(|name| name == fallback);
        self.fallbacks.get(place.map_or(0, |place| place + 1)).map(String::as_str)
    }

    /// Whether the one that stands in still can: the settings may have changed.
    pub fn knows(&self, fallback: &str) -> bool {
        fallback.is_empty() || self.fallbacks.iter().any(|name| name == fallback)
    }
}

/// SHA-256 of a value's JSON, hex.
pub fn input_hash(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("plain data");
    hex::encode(Sha256::digest(json))
}
