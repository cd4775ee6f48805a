//! A history being played: services on one database, and orders.

use std::collections::BTreeSet;
use std::time::Duration;

use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use tonic::{Code, Status};

use super::author::Author;
use super::books::Books;
use super::promises::{GLOBAL, PER_USER, Promises};
use super::step::{ORDERS, SERVICES, Step};
use crate::stage::{OWNER, Service, Stage, as_payment};

/// At most this long after the last step; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn document(order: usize) -> String {
    format!("document-{order}")
}

fn user(order: usize) -> &'static str {
    if order < ORDERS - 1 { OWNER } else { "another" }
}

pub struct Run {
    stage: Stage,
    author: Author,
    books: Books,
    promises: Promises,
    services: [Option<Service>; SERVICES],
    /// The jobs of each order: the paid one, then those that an operator went on with.
    jobs: [Vec<String>; ORDERS],
    /// Jobs that were asked to end, and those of them that must.
    asked: BTreeSet<String>,
    must_end: BTreeSet<String>,
}

impl Run {
    pub async fn new(backend: Backend) -> Self {
        let author = Author::default();
        let stage = Stage::openai(backend, author.serve().await).await;
        stage.document.titled_by_id.store(true, std::sync::atomic::Ordering::SeqCst);
        // Makes the tables.
        let mut first = start(&stage, false).await;
        let request = first.as_admin(pb::ListJobsRequest::default());
        first.client.list_jobs(request).await.unwrap();
        Self {
            books: Books::open(&stage).await,
            stage,
            author,
            promises: Promises::default(),
            services: [Some(first), None],
            jobs: Default::default(),
            asked: BTreeSet::new(),
            must_end: BTreeSet::new(),
        }
    }

    pub async fn apply(&mut self, step: &Step) {
        match *step {
            Step::Start(order) => self.start_order(order).await,
            Step::Pause(order) => self.pause(order, false).await,
            Step::PauseByOperator(order) => self.pause(order, true).await,
            Step::Resume(order) => self.resume(order, false).await,
            Step::ResumeByOperator(order) => self.resume(order, true).await,
            Step::Cancel(order) => self.cancel(order).await,
            Step::Refund(order) => self.refund(order).await,
            Step::Priority(order, priority) => {
                if let Some((service, job_id)) = self.target(order) {
                    let request = service.as_admin(pb::SetJobPriorityRequest { job_id, priority });
                    service.client.set_job_priority(request).await.unwrap();
                }
            }
            Step::Retry(order) => self.retry(order).await,
            Step::End(order) => {
                if let Some((service, job_id)) = self.target(order) {
                    follow(service, job_id).await;
                }
            }
            Step::Answer(which) => self.author.answer(which).await,
            Step::Mood(mood) => self.author.feel(mood),
            Step::DocumentAway(calls) => {
                let refusals = || (0..calls).map(|_| Status::unavailable("down"));
                let document = &self.stage.document;
                for queue in [&document.refuse_sections, &document.refuse_completion, &document.refuse_parts]
                {
                    queue.lock().unwrap().extend(refusals());
                }
            }
            Step::PaymentAway => {
                self.stage.payment.refuse.lock().unwrap().push_back(Status::unavailable("down"));
            }
            Step::Up(place) => {
                if self.services[place].is_none() {
                    self.services[place] = Some(start(&self.stage, false).await);
                }
            }
            Step::Kill(place) => {
                if let Some(service) = self.services[place].take() {
                    service.kill();
                }
            }
            Step::Drain(place) => {
                if let Some(service) = self.services[place].take() {
                    service.stop().await;
                }
            }
            Step::TimePasses => self.time_passes().await,
        }
    }

    pub async fn check(&mut self) {
        self.promises.check(&self.books.read().await, &self.author);
    }

    /// Lets everything come to its end, and looks at what is left. Gives the ends.
    pub async fn rest(mut self) -> BTreeSet<String> {
        self.author.free();
        let document = &self.stage.document;
        for queue in [&document.refuse_sections, &document.refuse_completion, &document.refuse_parts] {
            queue.lock().unwrap().clear();
        }
        self.stage.payment.refuse.lock().unwrap().clear();
        for place in 0..SERVICES {
            self.apply(&Step::Kill(place)).await;
        }
        self.time_passes().await;
        // The only one now: whatever the others had is void.
        self.services[0] = Some(start(&self.stage, true).await);
        for order in 0..ORDERS {
            self.resume(order, true).await;
        }
        let ids: Vec<String> = self.jobs.iter().flatten().cloned().collect();
        let ended = tokio::time::timeout(PATIENCE, async {
            for job_id in ids {
                follow(self.services[0].as_mut().unwrap(), job_id).await;
            }
            while self.books.read().await.messages.iter().any(|message| message.done_at.is_none()) {
                tokio::task::yield_now().await;
            }
        });
        if ended.await.is_err() {
            panic!("it does not come to rest: {:#?}", self.books.read().await);
        }
        let settled = self.stage.payment.settled();
        let snapshot = self.books.read().await;
        self.promises.check_rest(&snapshot, &self.author, &settled, &self.must_end, &self.asked)
    }

    async fn time_passes(&self) {
        self.stage.expire_leases().await;
        self.stage.change_jobs("run_at = 0").await;
        self.stage.change_outbox("leased_until = 0, next_at = 0").await;
    }

    /// A service that runs, and the newest job of the order.
    fn target(&mut self, order: usize) -> Option<(&mut Service, String)> {
        let job_id = self.jobs[order].last()?.clone();
        Some((self.services.iter_mut().flatten().next()?, job_id))
    }

    async fn start_order(&mut self, order: usize) {
        let Some(service) = self.services.iter_mut().flatten().next() else { return };
        let request = as_payment(pb::StartJobRequest {
            order_id: format!("order-{order}"),
            document_id: document(order),
            user_id: user(order).to_owned(),
            pages: 6,
        });
        let answer = service.client.start_job(request).await.unwrap().into_inner();
        match self.jobs[order].first() {
            Some(known) => assert_eq!((&answer.job_id, answer.created), (known, false)),
            None => {
                assert!(answer.created);
                self.jobs[order].push(answer.job_id);
            }
        }
    }

    async fn pause(&mut self, order: usize, by_operator: bool) {
        let Some((service, job_id)) = self.target(order) else { return };
        let message = pb::PauseJobRequest { job_id };
        let request = match by_operator {
            true => service.as_admin(message),
            false => service.as_user(user(order), message),
        };
        let job = service.client.pause_job(request).await.unwrap().into_inner().job.unwrap();
        // One that waits rests at once, unless it is to end.
        let waits = job.status() == pb::JobStatus::Queued;
        assert!(!waits || self.asked.contains(&job.id) || !job.pause_reason.is_empty(), "{job:?}");
    }

    async fn resume(&mut self, order: usize, by_operator: bool) {
        let Some((service, job_id)) = self.target(order) else { return };
        let message = pb::ResumeJobRequest { job_id };
        let request = match by_operator {
            true => service.as_admin(message),
            false => service.as_user(user(order), message),
        };
        match service.client.resume_job(request).await {
            Ok(answer) => {
                let job = answer.into_inner().job.unwrap();
                assert_ne!(job.status(), pb::JobStatus::Paused, "{job:?}");
            }
            Err(refused) => assert_eq!((refused.code(), by_operator), (Code::FailedPrecondition, false)),
        }
    }

    async fn cancel(&mut self, order: usize) {
        let Some((service, job_id)) = self.target(order) else { return };
        let request = service.as_user(user(order), pb::CancelJobRequest { job_id });
        let job = service.client.cancel_job(request).await.unwrap().into_inner().job.unwrap();
        self.asked.insert(job.id.clone());
        // At the last step it is the customer's already.
        if !matches!(job.status(), pb::JobStatus::Completed | pb::JobStatus::Failed) && job.step != "finish" {
            self.must_end.insert(job.id);
        }
    }

    async fn refund(&mut self, order: usize) {
        let Some(paid) = self.jobs[order].first().cloned() else { return };
        let Some(service) = self.services.iter_mut().flatten().next() else { return };
        service.cancel_order(&format!("order-{order}")).await.unwrap();
        self.asked.insert(paid);
    }

    async fn retry(&mut self, order: usize) {
        let Some((service, job_id)) = self.target(order) else { return };
        let request = service.as_admin(pb::RetryJobRequest { job_id });
        match service.client.retry_job(request).await {
            Ok(answer) => self.jobs[order].push(answer.into_inner().job.unwrap().id),
            Err(refused) => assert_eq!(refused.code(), Code::FailedPrecondition),
        }
    }
}

/// To the end of the job.
async fn follow(service: &mut Service, job_id: String) {
    let request = service.as_admin(pb::WatchJobRequest { job_id, after_seq: 0 });
    let mut events = service.client.watch_job(request).await.unwrap().into_inner();
    while events.message().await.unwrap().is_some() {}
}

async fn start(stage: &Stage, alone: bool) -> Service {
    let service = stage.start_with(World::system(), |config| {
        config.concurrency = 2;
        config.jobs_per_user = u32::try_from(PER_USER).unwrap();
        config.jobs_global = u32::try_from(GLOBAL).unwrap();
        config.retry_base = Duration::from_nanos(1);
        config.drain = Duration::from_millis(10);
        config.exclusive_data_dir = alone;
    });
    service.await
}
