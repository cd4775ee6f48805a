//! What those who follow a job are told, in whatever form: its events after a cursor, then live ones, a beat now and
//! then, and why nothing more comes.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use quire_fault::{Fault, Kind};
use quire_proto::job::v1 as pb;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::bearer::SignedIn;
use crate::error::ApiResult;
use crate::state::State;
use crate::streams::Place;

/// Proxies close a connection in which nothing happens for some time, often a minute.
const BEAT: Duration = Duration::from_secs(15);

type Events = Pin<Box<dyn Stream<Item = Result<pb::WatchJobResponse, Status>> + Send>>;
type Ended = Pin<Box<dyn Future<Output = Fault> + Send>>;

/// What is told next.
#[derive(Debug)]
pub(crate) enum News {
    Event(pb::JobEvent),
    /// Nothing has happened; the connection is to be kept alive.
    Beat,
    Over(Over),
}

/// Why nothing more comes.
#[derive(Debug)]
pub(crate) enum Over {
    /// The job has ended, in the way of this word, and everything was told.
    Job(&'static str),
    /// Whoever follows may not do so any longer.
    Session(Fault),
    /// The gateway stops.
    Shutdown,
    /// The job service stopped, or cannot be heard.
    Lost,
}

/// One reader's view of a job.
pub(crate) struct Feed {
    events: Events,
    ended: Ended,
    shutdown: CancellationToken,
    beat: Interval,
    /// How the job ended, once that is known.
    word: Option<&'static str>,
    /// Freed when the reader goes away.
    _place: Place,
}

impl Feed {
    /// Follows a job after an event's number.
    ///
    /// # Errors
    /// 429 when the user has too many streams open; those of the job service.
    pub(crate) async fn open(
        state: &State,
        signed_in: SignedIn,
        job: &pb::Job,
        after_seq: i64,
    ) -> ApiResult<Self> {
        let SignedIn { caller, user } = signed_in;
        let place = state.streams.take(&user.user_id)?;
        let message = pb::WatchJobRequest { job_id: job.id.clone(), after_seq };
        let request = state.upstream.stream(&caller, message);
        let events = state.upstream.job.clone().watch_job(request).await?.into_inner();
        let gatekeeper = state.upstream.gatekeeper.clone();
        let ended = async move { gatekeeper.until_ended(&user).await };
        let word = ending(job.status());
        Ok(Self {
            events: Box::pin(events),
            ended: Box::pin(ended),
            shutdown: state.shutdown.clone(),
            beat: every(BEAT),
            word,
            _place: place,
        })
    }

    /// Nothing is lost when this is dropped halfway. Must not be called again after [`News::Over`].
    pub(crate) async fn next(&mut self) -> News {
        tokio::select! {
            // The end first: whoever may no longer read gets nothing more, however much is waiting.
            biased;
            fault = &mut self.ended => News::Over(Over::Session(fault)),
            () = self.shutdown.cancelled() => News::Over(Over::Shutdown),
            told = self.events.next() => self.told(told),
            _ = self.beat.tick() => News::Beat,
        }
    }

    /// Waits until nothing more may be told, whatever is waiting.
    pub(crate) async fn barred(&mut self) -> Over {
        tokio::select! {
            fault = &mut self.ended => Over::Session(fault),
            () = self.shutdown.cancelled() => Over::Shutdown,
        }
    }

    fn told(&mut self, told: Option<Result<pb::WatchJobResponse, Status>>) -> News {
        match told {
            Some(Ok(answer)) => {
                let event = answer.event.unwrap_or_default();
                self.word = LAST.into_iter().find(|word| *word == event.kind).or(self.word);
                News::Event(event)
            }
            Some(Err(status)) => {
                let fault = Fault::from(&status);
                match fault.kind {
                    // The job service may hear of the end of a session first.
                    Kind::Unauthenticated | Kind::Forbidden => News::Over(Over::Session(fault)),
                    _ => {
                        tracing::warn!(code = ?status.code(), "the events of a job broke off");
                        News::Over(Over::Lost)
                    }
                }
            }
            None => News::Over(self.word.map_or(Over::Lost, Over::Job)),
        }
    }
}

fn every(pause: Duration) -> Interval {
    let mut beat = interval_at(Instant::now() + pause, pause);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// The kinds of last events, which are also the words for how a job ended.
const LAST: [&str; 3] = ["completed", "failed", "cancelled"];

/// How a job ended; `None` while it goes on.
pub(crate) fn ending(status: pb::JobStatus) -> Option<&'static str> {
    match status {
        pb::JobStatus::Completed => Some("completed"),
        pb::JobStatus::Failed => Some("failed"),
        pb::JobStatus::Cancelled => Some("cancelled"),
        pb::JobStatus::Unspecified
        | pb::JobStatus::Queued
        | pb::JobStatus::Running
        | pb::JobStatus::Paused => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::future::pending;

    use futures::stream;

    use super::*;
    use crate::streams::Streams;

    /// Longer than any test.
    pub(crate) const NEVER: Duration = Duration::from_secs(86_400);

    /// A feed of these answers for somebody whose session lasts.
    pub(crate) fn of(
        events: impl Stream<Item = Result<pb::WatchJobResponse, Status>> + Send + 'static,
        shutdown: CancellationToken,
        beat: Duration,
    ) -> Feed {
        Feed {
            events: Box::pin(events),
            ended: Box::pin(pending()),
            shutdown,
            beat: every(beat),
            word: None,
            _place: Streams::default().take("ada").unwrap(),
        }
    }

    pub(crate) fn event(seq: i64, kind: &str) -> Result<pb::WatchJobResponse, Status> {
        let event =
            pb::JobEvent { seq, kind: kind.to_owned(), data_json: "{}".to_owned(), ..Default::default() };
        Ok(pb::WatchJobResponse { event: Some(event) })
    }

    async fn end(events: Vec<Result<pb::WatchJobResponse, Status>>) -> Over {
        let mut feed = of(stream::iter(events), CancellationToken::new(), NEVER);
        loop {
            match feed.next().await {
                News::Over(over) => return over,
                News::Event(_) | News::Beat => {}
            }
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_before_its_last_event_is_not_the_jobs_end() {
        assert!(matches!(end(vec![event(1, "queued"), event(2, "failed")]).await, Over::Job("failed")));
        assert!(matches!(end(vec![event(1, "queued")]).await, Over::Lost));
        assert!(matches!(end(vec![Err(Status::unavailable("away"))]).await, Over::Lost));
    }

    #[tokio::test]
    async fn the_job_service_may_end_a_session_first() {
        let fault = Fault::new(Kind::Unauthenticated, "SESSION_ENDED", "over");
        let Over::Session(fault) = end(vec![event(1, "queued"), Err(fault.into())]).await else {
            panic!("the session is over");
        };
        assert_eq!(fault.reason, "SESSION_ENDED");
    }

    #[tokio::test]
    async fn a_quiet_job_is_heard_of_at_every_beat() {
        let mut feed = of(stream::pending(), CancellationToken::new(), Duration::from_millis(1));
        for _ in 0..3 {
            assert!(matches!(feed.next().await, News::Beat));
        }
    }
}
